"""AutoReg: deep registration networks whose architecture and loss are found for your data."""

__version__ = "0.1.0"
