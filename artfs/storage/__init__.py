"""The port "how bytes move" (`artfs.storage.port`) and its implementations."""
