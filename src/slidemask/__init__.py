"""Turn pathology slides into masks, one readable step at a time."""

__version__ = "0.1.0"
