"""Maps of records, figures, thresholds and the report that shows them."""
