"""The client of a W&B server, which the registry and the store share: who asks (`auth`), how a question is asked (`session`, `paging`)."""
