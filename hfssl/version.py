"""The version of hfssl."""

__version__ = "0.1.0"
