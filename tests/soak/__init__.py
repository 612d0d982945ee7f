"""Long tests, each of one form repeated with random input; see `conftest.py`."""
