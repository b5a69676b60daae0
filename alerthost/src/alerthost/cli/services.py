"""``alerthost services``: lists and changes the services of an account."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import click

from alerthost.cli import prompts
from alerthost.cli.incidents import LEAVE, OpenIncidents, with_choice
from alerthost.cli.options import root, with_config, with_timeout, with_yes
from alerthost.cli.output import Screen
from alerthost.config import cli_settings
from alerthost.config.accounts import Accounts, Change, open_accounts
from alerthost.config.cli_settings import secret_of
from alerthost.config.document import ConfigurationError, refuse
from alerthost.config.service_removal import remove_service
from hostspec.errors import Fault
from hostspec.provider import DestinationTable, Installation, Table
from hostspec.settings import SettingsError, info_of, key_of
from hostspec.structuring import structure
from hostspec.text import unknown_name

_Row: TypeAlias = Mapping[str, Any]


class Services:
    """The services of one account, as rows of its provider's destination table.

    Its methods raise ConfigurationError if the account or a change is wrong.
    """

    def __init__(self, accounts: Accounts, account: str) -> None:
        self.account = account
        self._accounts = accounts
        self.installation = accounts.find_valid(account)
        table = accounts.provider(self.installation.provider).table()
        if table is None:
            refuse("", f"a {self.installation.provider} account has no services to list or change")
        self.table: DestinationTable[Any] = table
        attrs.resolve_types(table.row)
        self.fields = {key_of(field): info_of(field) for field in attrs.fields(table.row)}

    @property
    def secret(self) -> str:
        """The field of a row that holds its secret."""
        found = secret_of(self.table.row)
        if found is None:
            refuse("--key", "cannot be used: a service of this provider has no single secret")
        return found

    @property
    def rows(self) -> Sequence[_Row]:
        """The services, with secrets masked."""
        return self.table.rows(self.installation.settings)

    @property
    def names(self) -> Sequence[str]:
        """The names of the services."""
        return [row["name"] for row in self.rows]

    def show(self, screen: Screen) -> None:
        """List the services."""
        columns = tuple(info.label for info in self.fields.values())
        rows = tuple(tuple(_cell(row.get(key)) for key in self.fields) for row in self.rows)
        screen.table(Table(f"Services of {self.account}", columns, rows))
        self.show_notes(screen)

    def show_notes(self, screen: Screen) -> None:
        """Show the providers' notes about all their installations."""
        for note in self._accounts.notes():
            screen.note(note)

    def require(self, name: str) -> None:
        """Check that a service has a name or id."""
        if not any(_is(row, name) for row in self.rows):
            refuse("", f"the service {unknown_name(name, self.names)}")

    def edit(self, change: Callable[[Sequence[_Row]], Sequence[_Row]]) -> Change:
        """Return a change of the account that changes the rows."""
        return lambda settings: self.table.save(settings, change(self.table.rows(settings)))

    def after(self, change: Change) -> Installation[Any]:
        """Return the account after a change, without storing it."""
        try:
            return self._accounts.changed(self.account, change)
        except ConfigurationError as error:
            # both the table and the provider's check may report a fault
            faults = dict.fromkeys(map(self._without_row, error.faults))
            raise ConfigurationError(faults) from None

    def faults_of(self, change: Change) -> Sequence[Fault]:
        """Return the faults of the account after a change."""
        try:
            self.after(change)
        except ConfigurationError as error:
            return error.faults
        return ()

    def show_consequences(self, change: Change, screen: Screen) -> bool:
        """Show what a change does to the rules; return whether it breaks any."""
        found = self._accounts.consequences(self.account, self.after(change))
        prompts.show_consequences((*found.faults, *found.changes), screen)
        return bool(found.faults)

    def orphaned_by(self, change: Change, place: str) -> OpenIncidents:
        """Select the open incidents that cannot be followed up after a change of `place`."""
        after = self.after(change)
        return OpenIncidents.of_change(self._accounts, self.installation, after, place)

    def change(self, change: Change) -> None:
        """Change the account in the store."""
        self.after(change)
        self._accounts.change(self.account, change)

    def remove(self, name: str) -> None:
        """Remove a service, by its name or id, from the account in the store."""
        from alerthost.outbox.activity import Actor  # noqa: PLC0415 -- slow imports

        (number,) = (row["id"] for row in self.rows if _is(row, name))
        actor = Actor("command line", socket.gethostname())
        remove_service(self._accounts, self.account, number, actor)

    def _without_row(self, fault: Fault) -> Fault:
        """Shorten the path of a fault to the field of the row."""
        field = fault.path.rpartition(".")[2].partition("[")[0]
        return Fault(field, fault.reason) if field in self.fields else fault


def _is(row: _Row, name: str) -> bool:
    return name in (row["id"], row["name"])


def _cell(value: object) -> str:
    values = value if isinstance(value, (list, tuple)) else [value]
    return ", ".join(map(str, values))


_with_key = click.option(
    "--key",
    metavar="REFERENCE",
    help="The key: env:NAME, file:PATH or keyring:SERVICE/NAME. Asked for if omitted.",
)


@root.group(
    short_help="List or change the services of an account.",
    example="alerthost services acme",
    invoke_without_command=True,
    subcommand_metavar="[add|rename|rotate|remove] ...",
)
@with_config
@click.argument("account")
@click.pass_context
def services(context: click.Context, path: Path, account: str) -> None:
    """List the services of ACCOUNT, with keys masked; or add, rename, rotate or remove one."""
    accounts = context.with_resource(open_accounts(path))
    context.obj = found = Services(accounts, account)
    if context.invoked_subcommand is None:
        found.show(Screen())
    else:
        accounts.find_stored(account)  # one that the file declares cannot be changed


@services.command(
    short_help="Add a service.",
    example="alerthost services acme add checkout --key env:PD_CHECKOUT",
)
@_with_key
@click.argument("name")
@click.pass_obj
def add(services: Services, key: str | None, name: str) -> None:
    """Add a service NAME."""
    screen = Screen()
    account = services.account
    if name in services.names:
        refuse("", f"{account} already has a service {name!r}; `rotate` changes its key")
    row: dict[str, Any] = {"name": name}
    if key is not None:
        row[services.secret] = cli_settings.reference("--key", key)

    def validate(row: _Row) -> Sequence[Fault]:
        try:
            structure(services.table.row, row)
        except SettingsError as error:
            return error.faults
        return services.faults_of(services.edit(lambda rows: [*rows, row]))

    row = prompts.complete(services.table.row, row, validate, screen)
    services.change(services.edit(lambda rows: [*rows, row]))
    screen.print(f"added {name} to {account}", "green")
    services.show_notes(screen)


@services.command(
    short_help="Rename a service.", example="alerthost services acme rename checkout shop"
)
@with_yes
@click.argument("old")
@click.argument("new")
@click.pass_obj
def rename(services: Services, *, yes: bool, old: str, new: str) -> None:
    """Rename the service OLD to NEW. Its open incidents stay open."""
    screen = Screen()
    services.require(old)
    change = services.edit(
        lambda rows: [{**row, "name": new} if _is(row, old) else row for row in rows]
    )
    if services.show_consequences(change, screen):
        prompts.confirm(f"Rename {old} anyway?", yes=yes)
    services.change(change)
    screen.print(f"renamed {old} of {services.account} to {new}", "green")


@services.command(
    short_help="Change the key of a service.",
    example="alerthost services acme rotate checkout --key file:/run/secrets/pd_checkout_new",
)
@_with_key
@click.option("--done", is_flag=True, help="End the rotation: keep only the new key.")
@with_choice
@with_timeout
@click.argument("name")
@click.pass_obj
def rotate(  # noqa: PLR0913 -- one argument for each option
    services: Services,
    *,
    key: str | None,
    done: bool,
    choice: str | None,
    timeout: float,
    name: str,
) -> None:
    """Change the key of the service NAME; the old one is kept until --done.

    New incidents are opened with the new key. Open incidents are followed up with the key that
    opened them, as long as it is kept; --done lists those of the old key, and asks whether to
    close them first.
    """
    screen = Screen()
    services.require(name)
    if done:
        if key is not None:
            refuse("--key", "cannot be combined with --done")
        _end_rotation(services, name, choice, timeout, screen)
        return
    if choice is not None:
        refuse(f"--{choice}", "needs --done")

    def rotated(secret: str) -> Change:
        return lambda settings: services.table.rotate(settings, name, secret)

    if key is not None:
        secret = cli_settings.reference("--key", key)
    elif prompts.can_ask():
        label = services.fields[services.secret].label
        secret = prompts.ask_secret(label, lambda s: services.faults_of(rotated(s)), screen)
    else:
        refuse("--key", "missing; add it, or run the command at a terminal to be asked")
    services.change(rotated(secret))
    screen.print(f"{name} of {services.account} has a new key, and keeps the old one")
    end = f"alerthost services {services.account} rotate {name} --done"
    screen.print(f"When no incident of the old key is open, run: {end}", "dim")
    services.show_notes(screen)


def _end_rotation(
    services: Services, name: str, choice: str | None, timeout: float, screen: Screen
) -> None:
    def retire(settings: Any) -> Any:
        return services.table.retire(settings, name)

    if services.after(retire) == services.installation:
        refuse("--done", f"{name} has only one key; no rotation is in progress")
    incidents = services.orphaned_by(retire, f"{services.account}/{name} under the old key")
    chosen = incidents.settle(choice, timeout, screen, undone="both keys are kept")
    services.change(retire)
    screen.print(f"{name} of {services.account} keeps only its newest key", "green")
    if chosen == LEAVE:
        screen.note(
            "incidents of the old key cannot be closed from here: close them at the provider"
        )


@services.command(short_help="Remove a service.", example="alerthost services acme remove checkout")
@with_yes
@with_choice
@with_timeout
@click.argument("name")
@click.pass_obj
def remove(services: Services, *, yes: bool, choice: str | None, timeout: float, name: str) -> None:
    """Remove the service NAME and its key, after confirmation; rules that name it are listed.

    Open incidents of the service are listed first: they cannot be closed from here afterwards,
    so choose whether to close them.
    """
    screen = Screen()
    services.require(name)
    change = services.edit(lambda rows: [row for row in rows if not _is(row, name)])
    services.show_consequences(change, screen)
    services.orphaned_by(change, f"{services.account}/{name}").settle(
        choice,
        timeout,
        screen,
        undone="not removed",
        confirm=lambda: prompts.confirm(f"Remove {name} of {services.account}?", yes=yes),
    )
    services.remove(name)
    screen.print(f"removed {name} of {services.account}", "green")
