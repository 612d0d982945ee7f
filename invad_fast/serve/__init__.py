"""The service beside the line."""
