"""The inference form: the same network with its algebra done once, at load time.

``InvAD.optimize`` makes one. Every file here folds the arrow of its name; what a folded arrow
computes is what the trainable one computes, to rounding.
"""

from invad_fast.inference.model import OptimizedInvAD

__all__ = ["OptimizedInvAD"]
