"""Measurements: what docs/benchmarks.md shows, one command each."""
