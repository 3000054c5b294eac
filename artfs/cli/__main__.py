"""``python -m artfs.cli``: the command line without its console script."""

from artfs.cli.main import run

if __name__ == "__main__":
    run()
