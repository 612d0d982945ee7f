"""Cameras: each kind is a file that keeps to `camera.py`; `capture.py` runs any of them."""
