"""``alerthost installations`` and ``disconnect``: lists, changes and removes accounts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from alerthost.cli import prompts
from alerthost.cli.incidents import OpenIncidents, with_choice
from alerthost.cli.options import command, root, with_config, with_timeout, with_yes
from alerthost.cli.output import Screen
from alerthost.config import cli_settings
from alerthost.config.accounts import Account, Accounts, open_accounts
from alerthost.config.document import ConfigurationError, refuse
from alerthost.config.plugins import NoDestinationsError, destinations_of
from hostspec.errors import Fault
from hostspec.provider import Installation, Table
from hostspec.structuring import settings_to_json, structure

_ORPHANED: Final = (
    "These incidents cannot be closed from here afterwards: close them first, or at the provider."
)


@root.group(
    short_help="List or change the connected accounts.",
    example="alerthost installations",
    invoke_without_command=True,
)
@with_config
@click.pass_context
def installations(context: click.Context, path: Path) -> None:
    """List the accounts in the configuration file and in the store."""
    context.obj = path
    if context.invoked_subcommand is not None:
        return
    screen = Screen()
    with open_accounts(path) as accounts:
        found = accounts.all()
        rows = tuple(
            (
                account.name,
                account.provider,
                service_names(accounts, account.installation) if account.installation else "-",
                account.location,
            )
            for account in found
        )
        columns = ("name", "provider", "services", "defined in")
        screen.table(Table("Installations", columns, rows))
        for note in accounts.notes():
            screen.note(note)
        faults = [fault for account in found for fault in account.faults]
        faults += _duplicates(found)
    if faults:
        raise ConfigurationError(faults)


def _duplicates(accounts: Sequence[Account]) -> list[Fault]:
    counts = Counter(account.name for account in accounts)
    return [
        Fault(account.location, f"the name {account.name!r} is used twice; rename or remove one")
        for account in accounts
        if counts[account.name] > 1
    ]


def service_names(accounts: Accounts, installation: Installation[Any]) -> str:
    """Return the names of an account's services, with commas, or why they are unknown."""
    provider = accounts.plugins.providers[installation.provider]
    try:
        destinations = destinations_of(provider, installation)
    except NoDestinationsError as error:
        return f"({error})"
    return ", ".join(each.name for each in destinations) or "no services"


@installations.command(
    name="set",
    short_help="Change settings of an account.",
    example="alerthost installations set acme rate_limit=240 network.timeout=10",
)
@with_yes
@click.argument("account")
@click.argument("settings", metavar="NAME=VALUE...", nargs=-1, required=True)
@click.pass_obj
def set_command(path: Path, *, yes: bool, account: str, settings: tuple[str, ...]) -> None:
    """Change settings of ACCOUNT in the store: all of them, or none if one is wrong.

    Repeat NAME=VALUE for each entry of a list; write TABLE.NAME=VALUE for a table. A change
    that orphans open incidents is confirmed first: they cannot be closed from here afterwards.
    """
    screen = Screen()

    def change(before: Any) -> Any:
        new, faults = cli_settings.read(type(before), settings=settings)
        if faults:
            raise ConfigurationError(faults)
        kept = settings_to_json(before, write=lambda secret: secret)
        return structure(type(before), _merged(kept, new))

    with open_accounts(path) as accounts:
        stored = accounts.find_stored(account)
        before = accounts.find_valid(account)
        after = accounts.changed(account, change)
        consequences = accounts.consequences(account, after)
        prompts.show_consequences((*consequences.faults, *consequences.changes), screen)
        if OpenIncidents.of_change(accounts, before, after, account).list_open(screen):
            screen.warn(_ORPHANED)
            prompts.confirm(f"Change {account} anyway?", yes=yes)
        accounts.change(account, change)
    screen.print(f"changed {stored.name}", "green")


def _merged(kept: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Merge new settings into kept ones, and tables into tables."""
    merged = dict(kept)
    for name, value in new.items():
        match kept.get(name), value:
            case dict(old), dict():
                merged[name] = _merged(old, value)
            case _:
                merged[name] = value
    return merged


@command("Remove an account from the store.", example="alerthost disconnect acme --resolve")
@with_config
@with_yes
@with_choice
@with_timeout
@click.argument("account")
def disconnect(path: Path, *, yes: bool, choice: str | None, timeout: float, account: str) -> None:
    """Remove ACCOUNT and its keys from the store; nothing changes at the provider.

    An account that rules name is removed with --yes only. Open incidents of the account are
    listed first: they cannot be closed from here afterwards, so choose whether to close them.
    """
    screen = Screen()
    with open_accounts(path) as accounts:
        stored = accounts.find_stored(account)
        broken = accounts.consequences(account, None).faults
        prompts.show_consequences(broken, screen)
        if broken and not yes:
            refuse("", f"rules name {account}: change them first, or use --yes")
        OpenIncidents(accounts, account, account).settle(
            choice,
            timeout,
            screen,
            undone="not disconnected",
            confirm=lambda: prompts.confirm(f"Disconnect {account}?", yes=yes),
        )
        accounts.store.installations.remove(stored)
    screen.print(f"disconnected {account}", "green")
