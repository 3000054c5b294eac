"""Where things are: flags, environment, the configuration file, defaults."""
