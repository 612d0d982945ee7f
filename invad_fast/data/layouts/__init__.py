"""How data sets lie on disk: one reader a layout, told apart by `catalogue`."""
