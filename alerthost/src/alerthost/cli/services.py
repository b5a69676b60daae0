"""``alerthost services``: lists and changes the services of an account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import click

from alerthost.cli import prompts
from alerthost.cli.disconnect import LEAVE, RESOLVE, OpenIncidents, with_choice
from alerthost.cli.formatting import printable
from alerthost.cli.options import example, report_errors, with_config, with_timeout, with_yes
from alerthost.cli.screen import Screen
from alerthost.config import cli_settings
from alerthost.config.accounts import Accounts, Change, open_accounts
from alerthost.config.cli_settings import secret_of
from alerthost.config.document import ConfigurationError, refuse
from hostspec.errors import Fault
from hostspec.provider import DestinationTable, Installation, Table
from hostspec.settings import SettingsError, info_of, key_of
from hostspec.structuring import structure
from hostspec.text import unknown_name


class Services:
    """The services of one account, as rows of its provider's destination table.

    Raises:
        ConfigurationError: the account is unknown, or its provider has no destination table.
    """

    def __init__(self, accounts: Accounts, account: str) -> None:
        self.account = account
        self._accounts = accounts
        found, self._installation = accounts.find_valid(account)
        table = accounts.provider(found.provider).table()
        if table is None:
            reason = f"a {found.provider} account has no services to list or change"
            refuse("", reason)
        self._table: DestinationTable[Any] = table
        attrs.resolve_types(table.row)
        self._fields = {key_of(field): info_of(field) for field in attrs.fields(table.row)}

    @property
    def row(self) -> type:
        """The settings class of a new service."""
        return self._table.row

    @property
    def secret(self) -> str:
        """The field of a row that holds its secret.

        Raises:
            ConfigurationError: no field, or several fields, do.
        """
        found = secret_of(self._table.row)
        if found is None:
            refuse("--key", "cannot be used: a service of this provider has no single secret")
        return found

    @property
    def secret_label(self) -> str:
        """The label of the secret in prompts."""
        return self._fields[self.secret].label

    def table(self) -> Table:
        """List the services, with secrets masked."""
        columns = tuple(info.label for info in self._fields.values())
        rows = tuple(tuple(_cell(row.get(key)) for key in self._fields) for row in self._rows())
        return Table(printable(f"Services of {self.account}"), columns, rows)

    def check_stored(self) -> None:
        """Check that the account is in the store, where it can be changed.

        Raises:
            ConfigurationError: it is in the configuration file.
        """
        self._accounts.find_stored(self.account)

    def check_new(self, name: str) -> None:
        """Check that no service has a name.

        Raises:
            ConfigurationError: one has.
        """
        if name in self._names():
            refuse("", f"{self.account} already has a service {name!r}; `rotate` changes its key")

    def check_known(self, name: str) -> None:
        """Check that a service has a name or id.

        Raises:
            ConfigurationError: none has.
        """
        names = self._names()
        if name not in names and name not in {row["id"] for row in self._rows()}:
            refuse("", f"the service {unknown_name(name, names)}")

    def adding(self, row: Mapping[str, Any]) -> Change:
        """Return a change that adds a service."""
        return lambda settings: self._table.save(settings, [*self._table.rows(settings), row])

    def renaming(self, old: str, new: str) -> Change:
        """Return a change that renames a service."""
        return lambda settings: self._table.save(
            settings,
            [{**row, "name": new} if _is(row, old) else row for row in self._table.rows(settings)],
        )

    def removing(self, name: str) -> Change:
        """Return a change that removes a service."""
        return lambda settings: self._table.save(
            settings, [row for row in self._table.rows(settings) if not _is(row, name)]
        )

    def rotating(self, name: str, secret: str) -> Change:
        """Return a change that adds a new secret to a service, and keeps the old one."""
        return lambda settings: self._table.rotate(settings, name, secret)

    def retiring(self, name: str) -> Change:
        """Return a change that keeps only the newest secret of a service."""
        return lambda settings: self._table.retire(settings, name)

    def after(self, change: Change) -> Installation[Any]:
        """Return the account after a change, without storing it.

        Raises:
            ConfigurationError: the changed settings are wrong.
        """
        try:
            return self._accounts.changed(self.account, change)
        except ConfigurationError as error:
            # both the table and the provider's check may report a fault
            faults = dict.fromkeys(map(self._without_row, error.faults))
            raise ConfigurationError(faults) from None

    def is_changed_by(self, change: Change) -> bool:
        """Check whether a change has an effect."""
        return self.after(change) != self._installation

    def show_consequences(self, change: Change, screen: Screen) -> bool:
        """Show what a change does to the rules; return whether it breaks any."""
        found = self._accounts.consequences(self.account, self.after(change))
        prompts.show_consequences((*found.faults, *found.changes), screen)
        return bool(found.faults)

    def orphaned_by(self, change: Change, place: str) -> OpenIncidents:
        """Select the open incidents that cannot be followed up after a change of `place`."""
        after = self.after(change)
        return OpenIncidents.of_change(self._accounts, self._installation, after, place)

    def change(self, change: Change) -> None:
        """Change the account in the store.

        Raises:
            ConfigurationError: the changed settings are wrong.
            StoreError: they cannot be stored.
        """
        self.after(change)
        self._accounts.change(self.account, change)

    def validate_row(self, row: Mapping[str, Any]) -> Sequence[Fault]:
        """Find the faults of a new service."""
        try:
            structure(self._table.row, row)
            self.after(self.adding(row))
        except (SettingsError, ConfigurationError) as error:
            return error.faults
        return ()

    def validate_secret(self, name: str, secret: str) -> Sequence[Fault]:
        """Find the faults of a new secret."""
        try:
            self.after(self.rotating(name, secret))
        except ConfigurationError as error:
            return error.faults
        return ()

    def show_notes(self, screen: Screen) -> None:
        """Show the providers' notes about all their installations."""
        for note in self._accounts.notes():
            screen.note(note)

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return self._table.rows(self._installation.settings)

    def _names(self) -> list[str]:
        return [row["name"] for row in self._rows()]

    def _without_row(self, fault: Fault) -> Fault:
        """Shorten the path of a fault to the field of the row."""
        field = fault.path.rpartition(".")[2].partition("[")[0]
        return Fault(field, fault.reason) if field in self._fields else fault


def _is(row: Mapping[str, Any], name: str) -> bool:
    return name in (row["id"], row["name"])


def _cell(value: object) -> str:
    values = value if isinstance(value, (list, tuple)) else [value]
    return printable(", ".join(map(str, values)))


_with_key = click.option(
    "--key",
    metavar="REFERENCE",
    help="The key: env:NAME, file:PATH or keyring:SERVICE/NAME. Asked for if omitted.",
)


@click.group(
    short_help="List or change the services of an account.",
    invoke_without_command=True,
    subcommand_metavar="[add|rename|rotate|remove] ...",
)
@with_config
@click.argument("account")
@click.pass_context
@report_errors
@example("alerthost services acme")
def services(context: click.Context, path: Path, account: str) -> None:
    """List the services of ACCOUNT, with keys masked; or add, rename, rotate or remove one."""
    accounts = context.with_resource(open_accounts(path))
    context.obj = found = Services(accounts, account)
    if context.invoked_subcommand is None:
        screen = Screen()
        screen.table(found.table())
        found.show_notes(screen)
    else:
        found.check_stored()


@services.command(short_help="Add a service.")
@_with_key
@click.argument("name")
@click.pass_obj
@report_errors
@example("alerthost services acme add checkout --key env:PD_CHECKOUT")
def add(services: Services, key: str | None, name: str) -> None:
    """Add a service NAME."""
    screen = Screen()
    services.check_new(name)
    row: dict[str, Any] = {"name": name}
    if key is not None:
        row[services.secret] = cli_settings.reference("--key", key)
    faults = services.validate_row(row)
    if faults:
        if not prompts.can_ask() or any(fault.path in ("", *row) for fault in faults):
            raise ConfigurationError(faults)
        row = prompts.ask(services.row, row, services.validate_row, screen)
    services.change(services.adding(row))
    screen.print(printable(f"added {name} to {services.account}"), "green")
    services.show_notes(screen)


@services.command(short_help="Rename a service.")
@with_yes
@click.argument("old")
@click.argument("new")
@click.pass_obj
@report_errors
@example("alerthost services acme rename checkout shop")
def rename(services: Services, *, yes: bool, old: str, new: str) -> None:
    """Rename the service OLD to NEW. Its open incidents stay open."""
    screen = Screen()
    services.check_known(old)
    change = services.renaming(old, new)
    if services.show_consequences(change, screen):
        prompts.confirm(f"Rename {old} anyway?", yes=yes)
    services.change(change)
    screen.print(printable(f"renamed {old} of {services.account} to {new}"), "green")


@services.command(short_help="Change the key of a service.")
@_with_key
@click.option("--done", is_flag=True, help="End the rotation: keep only the new key.")
@with_choice
@with_timeout
@click.argument("name")
@click.pass_obj
@report_errors
@example("alerthost services acme rotate checkout --key file:/run/secrets/pd_checkout_new")
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
    services.check_known(name)
    if done:
        if key is not None:
            refuse("--key", "cannot be combined with --done")
        _end_rotation(services, name, choice, timeout, screen)
        return
    if choice is not None:
        refuse(f"--{choice}", "needs --done")
    if key is not None:
        secret = cli_settings.reference("--key", key)
    elif prompts.can_ask():
        secret = prompts.ask_secret(
            services.secret_label, lambda answer: services.validate_secret(name, answer), screen
        )
    else:
        refuse("--key", "missing; add it, or run the command at a terminal to be asked")
    services.change(services.rotating(name, secret))
    screen.print(printable(f"{name} of {services.account} has a new key, and keeps the old one"))
    end = f"alerthost services {services.account} rotate {name} --done"
    screen.print(printable(f"When no incident of the old key is open, run: {end}"), "dim")
    services.show_notes(screen)


def _end_rotation(
    services: Services, name: str, choice: str | None, timeout: float, screen: Screen
) -> None:
    change = services.retiring(name)
    if not services.is_changed_by(change):
        refuse("--done", f"{name} has only one key; no rotation is in progress")
    incidents = services.orphaned_by(change, f"{services.account}/{name} under the old key")
    chosen = incidents.choose(choice, screen)
    if chosen == RESOLVE:
        incidents.close(screen, timeout, "both keys are kept")
    services.change(change)
    screen.print(printable(f"{name} of {services.account} keeps only its newest key"), "green")
    if chosen == LEAVE:
        screen.note(
            "incidents of the old key cannot be closed from here: close them at the provider"
        )


@services.command(short_help="Remove a service.")
@with_yes
@with_choice
@with_timeout
@click.argument("name")
@click.pass_obj
@report_errors
@example("alerthost services acme remove checkout")
def remove(services: Services, *, yes: bool, choice: str | None, timeout: float, name: str) -> None:
    """Remove the service NAME and its key, after confirmation; rules that name it are listed.

    Open incidents of the service are listed first: they cannot be closed from here afterwards,
    so choose whether to close them.
    """
    screen = Screen()
    services.check_known(name)
    change = services.removing(name)
    services.show_consequences(change, screen)
    incidents = services.orphaned_by(change, f"{services.account}/{name}")
    chosen = incidents.choose(choice, screen)
    prompts.confirm(f"Remove {name} of {services.account}?", yes=yes)
    if chosen == RESOLVE:
        incidents.close(screen, timeout, "not removed")
    services.change(change)
    screen.print(printable(f"removed {name} of {services.account}"), "green")
