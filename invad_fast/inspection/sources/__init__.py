"""Where pictures come from: one file a source. Each yields pictures, in the order they come."""
