"""The port "who knows what exists" (`artfs.registry.port`) and its implementations."""
