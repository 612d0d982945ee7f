"""Judging single parts: images in, one verdict each out.

A name is imported from its file (``__init__.pyi`` says which) when it is first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
