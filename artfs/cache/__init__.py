"""Verified data on local disk: manifest indexes and block lists. Knows no registry."""
