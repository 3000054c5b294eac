"""`artfs umount`."""

from __future__ import annotations

import click

from artfs.cli.completing import complete_mount


@click.command()
@click.argument("mountpoint", shell_complete=complete_mount)  # not click.Path, which would ask a mount that may hang
@click.option("--force", is_flag=True, help="Cut the connection, whoever uses it.")
def command(mountpoint: str, force: bool) -> None:
    """Unmount what is mounted at MOUNTPOINT, and wait for its process to end.

    A mount that is in use stays, and the message says who uses it. Commits under way are finished first; with --force they
    stop, and the next mount resumes them. --force also ends a process whose mount point is gone already, while files were open.
    """
    from artfs.app.shutdown import end_left
    from artfs.app.unmount import unmount
    from artfs.config import load_config
    from artfs.errors import NotFoundError

    try:
        unmount(mountpoint, force=force)
    except NotFoundError:
        if not end_left(load_config(), mountpoint, force=force):
            raise
