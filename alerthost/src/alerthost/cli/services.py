"""The services of one account, as its provider's destination table gives and takes them.

A service is what the provider calls a destination; its secret is the one of the table's row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from alerthost.cli.disconnect import Departing
from alerthost.cli.screen import printable
from alerthost.config.accounts import Accounts, Change, Consequences
from alerthost.config.cli_settings import secret_of
from alerthost.config.document import ConfigurationError, refuse
from hostspec.connect.destination_table import DestinationTable
from hostspec.demo import Table
from hostspec.errors import Fault
from hostspec.provider import Installation
from hostspec.settings import SettingsError, info_of, key_of
from hostspec.structuring import structure
from hostspec.text import unknown_name


class Services:
    """The services of one account.

    Args:
        accounts: where the account is.
        account: its name.

    Raises:
        ConfigurationError: there is no such account, or its services cannot be edited.
    """

    def __init__(self, accounts: Accounts, account: str) -> None:
        self.account = account
        self._accounts = accounts
        found, self._installation = accounts.find_valid(account)
        table = accounts.provider(found.provider).table()
        if table is None:
            reason = f"a {found.provider} account has no services to list or edit"
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
        """What a row calls its secret.

        Raises:
            ConfigurationError: it has none.
        """
        found = secret_of(self._table.row)
        if found is None:
            refuse("--key", "has no place here: there is no one secret")
        return found

    @property
    def secret_label(self) -> str:
        """What a person calls the secret."""
        return self._fields[self.secret].label

    def table(self) -> Table:
        """Show the services, secrets masked."""
        columns = tuple(info.label for info in self._fields.values())
        rows = tuple(
            tuple(_cell(row.get(key)) for key in self._fields)
            for row in self._table.rows(self._installation.settings)
        )
        return Table(printable(f"Services of {self.account}"), columns, rows)

    def refuse_unchangeable(self) -> None:
        """See that the account is in the store, where it can be changed.

        Raises:
            ConfigurationError: the file declares it.
        """
        self._accounts.find_stored(self.account)

    def refuse_taken(self, name: str) -> None:
        """See that no service has a name.

        Raises:
            ConfigurationError: one has.
        """
        if name in self._names():
            reason = f"{self.account} has a service {name!r} already; `rotate` gives it a new key"
            refuse("", reason)

    def refuse_unknown(self, name: str) -> None:
        """See that a service is there.

        Raises:
            ConfigurationError: there is none of that name or id.
        """
        names = self._names()
        if name not in names and name not in {row["id"] for row in self._rows()}:
            refuse("", f"the service {unknown_name(name, names)}")

    def adding(self, row: Mapping[str, Any]) -> Change:
        """Make the change that adds a service."""
        return lambda settings: self._table.save(settings, [*self._table.rows(settings), row])

    def renaming(self, old: str, new: str) -> Change:
        """Make the change that renames a service."""

        def change(settings: Any) -> Any:
            rows = self._table.rows(settings)
            return self._table.save(
                settings, [{**row, "name": new} if _is(row, old) else row for row in rows]
            )

        return change

    def removing(self, name: str) -> Change:
        """Make the change that removes a service."""
        return lambda settings: self._table.save(
            settings, [row for row in self._table.rows(settings) if not _is(row, name)]
        )

    def rotating(self, name: str, secret: str) -> Change:
        """Make the change that gives a service a new secret beside the old one."""
        return lambda settings: self._table.rotate(settings, name, secret)

    def retiring(self, name: str) -> Change:
        """Make the change that leaves a service its newest secret only."""
        return lambda settings: self._table.retire(settings, name)

    def after(self, change: Change) -> Installation[Any]:
        """Return the account as a change would leave it.

        Raises:
            ConfigurationError: the change will not do.
        """
        try:
            return self._accounts.changed(self.account, change)
        except ConfigurationError as error:
            # what the table and the check both find is told once
            faults = dict.fromkeys(map(self._without_row, error.faults))
            raise ConfigurationError(faults) from None

    def is_changed_by(self, change: Change) -> bool:
        """Check whether a change would change anything."""
        return self.after(change) != self._installation

    def consequences(self, change: Change) -> Consequences:
        """Describe what a change does to the rules."""
        return self._accounts.consequences(self.account, self.after(change))

    def departing(self, change: Change, place: str) -> Departing:
        """Return what can be followed up now, and not after a change.

        Args:
            change: what is to be changed.
            place: what is gone then, for a person.
        """
        return Departing.by_change(self._accounts, self._installation, self.after(change), place)

    def change(self, change: Change) -> None:
        """Change the account in the store.

        Raises:
            ConfigurationError: the change will not do.
            StoreError: it cannot be stored.
        """
        self.after(change)
        self._accounts.change(self.account, change)

    def judge_row(self, row: Mapping[str, Any]) -> Sequence[Fault]:
        """Describe what is wrong with a new service."""
        try:
            structure(self._table.row, row)
            self.after(self.adding(row))
        except (SettingsError, ConfigurationError) as error:
            return error.faults
        return ()

    def judge_secret(self, name: str, secret: str) -> Sequence[Fault]:
        """Describe what is wrong with a service's new secret."""
        try:
            self.after(self.rotating(name, secret))
        except ConfigurationError as error:
            return error.faults
        return ()

    def notes(self) -> Sequence[str]:
        """Return what the providers say of their installations together."""
        return self._accounts.notes()

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return self._table.rows(self._installation.settings)

    def _names(self) -> list[str]:
        return [row["name"] for row in self._rows()]

    def _without_row(self, fault: Fault) -> Fault:
        """Tell a fault by the field of the row alone, wherever in the settings the row is."""
        field = fault.path.rpartition(".")[2].partition("[")[0]
        return Fault(field, fault.reason) if field in self._fields else fault


def _is(row: Mapping[str, Any], name: str) -> bool:
    return name in (row["id"], row["name"])


def _cell(value: object) -> str:
    values = value if isinstance(value, (list, tuple)) else [value]
    return printable(", ".join(map(str, values)))
