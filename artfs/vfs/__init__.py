"""What a mount looks like. Never imports pyfuse3."""
