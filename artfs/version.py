"""The version of the program. In a module of its own, so that any package may say it in a user agent."""

__version__ = "0.1.0"
