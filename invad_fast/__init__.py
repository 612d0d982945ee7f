"""invad_fast: fast, practical multi-class visual anomaly detection with InvAD.

A name is imported from its file (``__init__.pyi`` says which) when it is first asked for: the
command line's help, or who only reads a result, waits for no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
