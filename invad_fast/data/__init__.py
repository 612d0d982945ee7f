"""Data sets: one record type, one reader a layout, images and masks as arrays and tensors.

A name is imported from its file (``__init__.pyi`` says which) when it is first asked for: who only
reads a data set or an image waits for no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
