"""The public Python API: the classes of the W&B SDK's artifacts, on a registry of artfs. ``import artfs`` has all of it; see ``docs/api.md``."""
