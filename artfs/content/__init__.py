"""The read path: what is read, when it is trusted, and how it is fetched once for all readers."""
