"""ntvl joins computers behind any number of NATs into one encrypted virtual Ethernet."""

__version__ = "0.1.0"
__all__ = ["__version__"]
