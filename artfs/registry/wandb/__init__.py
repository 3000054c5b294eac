"""A W&B server as the registry: the port in GraphQL (``docs/wandb.md``)."""
