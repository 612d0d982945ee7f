"""The Triton implementations, one file an op; installed as ``invad_fast.kernels``."""
