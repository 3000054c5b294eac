"""The write path: drafts, the overlay on a base version, hashing, the journal and the commit."""
