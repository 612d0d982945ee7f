"""The one way to say how large an image is."""

Size = tuple[int, int]
"""(height, width) in pixels."""
