"""The public Python API: the classes of the W&B SDK's artifacts, on a registry of artfs. See ``docs/api.md``."""
