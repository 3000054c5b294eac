"""A registry in SQL, through SQLAlchemy Core."""
