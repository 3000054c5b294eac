"""artfs: machine-learning artifacts mounted as plain files."""

__version__ = "0.1.0"
