"""A W&B server double: ``server.WandbServer``, and ``fixtures.wandb_server``.

``schema.graphql`` is the copy of the reconstructed schema; ``schema_additions.graphql`` has what the SDK asks for beyond it.
"""
