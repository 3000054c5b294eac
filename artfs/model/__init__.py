"""Pure values: digests, names, entry paths, references, manifests. No I/O and no event loop."""
