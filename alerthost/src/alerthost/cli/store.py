"""``alerthost store``, ``new-key`` and ``reseal``: copies the store, and manages its key."""

from __future__ import annotations

import os
from pathlib import Path

import click

from alerthost.cli.options import command, root, with_config
from alerthost.cli.output import Screen, counted
from alerthost.config import cli_settings
from alerthost.config.document import ConfigFile, refuse
from alerthost.config.store import open_store
from hostspec.secret import Secret


@root.group(short_help="Copy the store.")
def store() -> None:
    """Manage the database that [store] url names."""


@store.command(
    short_help="Copy everything to another database.",
    example="alerthost store copy sqlite:///alerthost.db postgresql://alerts@db.example/alerts",
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def copy(source: str, target: str) -> None:
    """Copy everything from one database to another; FROM and TO are URLs as in [store] url.

    Stop all processes on both databases first. TO must be empty, or hold an interrupted copy,
    which is continued. All rows are compared at the end. Then set [store] url to TO; the key
    that seals secrets stays the same.
    """
    # slow to import
    from alerthost.outbox.heartbeat import is_worked_on  # noqa: PLC0415
    from alerthost.store import copying  # noqa: PLC0415
    from alerthost.store.database import Database  # noqa: PLC0415
    from alerthost.store.errors import StoreError  # noqa: PLC0415

    screen = Screen()
    with Database(source, Path()) as read, Database(target, Path()) as written:
        if not read.exists:
            message = f"{read.name} does not exist"
            raise StoreError(message)
        for database in (read, written):
            if database.exists and is_worked_on(database):
                message = f"alerthost is running on {database.name}; stop it first, and try again"
                raise StoreError(message)
        try:
            with screen.progress("copying", copying.count(read)) as advance:
                copied = copying.copy(read, written, advance)
        except KeyboardInterrupt:
            screen.print_error("interrupted; run the same command again to continue")
            screen.exit(success=False)
    screen.print(f"copied and compared {counted(copied, 'row')}: {written.name}", "bold")


@command("Create a key for the store.", example="alerthost new-key --write alerthost.key")
@click.option("--write", "file", type=click.Path(path_type=Path), help="Write it to a new file.")
def new_key(file: Path | None) -> None:
    """Create a key that seals the secrets in the store, and print it.

    With --write, it is written to a new file that only you can read. The key and the database
    together give the secrets away; without the key, the secrets are lost.
    """
    from alerthost.store import sealing  # noqa: PLC0415 -- slow to import

    key = sealing.new_key()
    if file is None:
        click.echo(key)
        return
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        refuse(str(file), "already exists; secrets sealed with its key would be lost")
    except OSError as error:
        refuse(str(file), f"cannot be written: {error.strerror}")
    with os.fdopen(descriptor, "w", encoding="ascii") as written:
        written.write(f"{key}\n")
    screen = Screen()
    screen.print(f"wrote {file}", "green")
    screen.print("Name it in alerthost.toml:")
    screen.print_unwrapped("[store]")
    screen.print_unwrapped(f'key = "file:{file}"')


@command(
    "Seal the secrets in the store with a new key.",
    example="alerthost reseal --old-key file:alerthost.key.old",
)
@with_config
@click.option(
    "--old-key",
    metavar="REFERENCE",
    help="The key that sealed them: env:NAME, file:PATH or keyring:SERVICE/NAME. Not needed if "
    "[store] key names it after the new one.",
)
def reseal(path: Path, old_key: str | None) -> None:
    """Seal all secrets in the store again, with the key that [store] names now.

    If that names several keys, the first one seals; the others can be removed afterwards.
    """
    old = None if old_key is None else Secret(cli_settings.reference("--old-key", old_key))
    with open_store(ConfigFile.read(path)) as sealed:
        if sealed.key is None:
            refuse("[store] key", "missing; name the new key")
        secrets = counted(sealed.installations.reseal(old), "secret")
        text = f"sealed {secrets} in {sealed.location} with the first key of {sealed.key.masked()}"
        Screen().print(text, "green")
