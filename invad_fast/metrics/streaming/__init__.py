"""Pixels in constant memory: counted in cells, and figures with rigorous bounds from these."""
