"""``alerthost disconnect``: removes an account, after a choice about its open incidents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import attrs
import click

from alerthost.cli import prompts
from alerthost.cli.formatting import printable
from alerthost.cli.incidents import resolve_all, table, view_of
from alerthost.cli.options import (
    Command,
    example,
    report_errors,
    with_config,
    with_timeout,
    with_yes,
)
from alerthost.cli.screen import Screen
from alerthost.cli.session import open_session
from alerthost.config import configuration
from alerthost.config.accounts import Accounts, open_accounts
from alerthost.config.document import refuse
from hostspec.delivery import Incident
from hostspec.plugins.isolation import can_follow_up
from hostspec.provider import Installation

if TYPE_CHECKING:
    from alerthost.outbox.admin import Admin
    from alerthost.outbox.admin_rows import IncidentRow

RESOLVE: Final = "resolve"
LEAVE: Final = "leave"

SHOWN: Final = 20
"""Incidents that are listed, at most."""


def with_choice(command: Command) -> Command:
    """Add the options that decide about open incidents; see `OpenIncidents.choose`."""
    leave = click.option("--leave", "choice", flag_value=LEAVE, help="Leave open incidents open.")
    resolve = click.option(
        "--resolve", "choice", flag_value=RESOLVE, help="Close open incidents first."
    )
    return resolve(leave(command))


@attrs.frozen
class OpenIncidents:
    """The open incidents that could not be closed any more after a removal.

    Attributes:
        accounts: all of them.
        account: the account of the incidents.
        place: the name of the removed account or service, as shown to the operator.
        includes: selects incidents of the account.
    """

    accounts: Accounts
    account: str
    place: str
    includes: Callable[[Incident], bool] = lambda _: True

    @classmethod
    def of_change(
        cls, accounts: Accounts, before: Installation[Any], after: Installation[Any], place: str
    ) -> Self:
        """Select the incidents that can be followed up before a change, but not after it."""

        def includes(incident: Incident) -> bool:
            action = accounts.plugins.actions.get(incident.ref.action)
            if action is None:
                return False
            return can_follow_up(action, incident, before) and not can_follow_up(
                action, incident, after
            )

        return cls(accounts, before.name, place, includes)

    def choose(self, choice: str | None, screen: Screen) -> str:
        """List the incidents, and ask the operator whether to close them first.

        Args:
            choice: made on the command line; None to ask.
            screen: lists the incidents.

        Returns:
            `RESOLVE` or `LEAVE`; empty if no incident is open.

        Raises:
            ConfigurationError: no choice was made, and there is no terminal.
            StoreError: the store cannot be read.
        """
        if not self.list_open(screen):
            return ""
        if choice is not None:
            return choice
        if not prompts.can_ask():
            refuse("", "incidents are open there: use --resolve to close them first, or --leave")
        question = "Close them first, or leave them open"
        return str(click.prompt(question, type=click.Choice([RESOLVE, LEAVE]), err=True))

    def close(self, screen: Screen, timeout: float, undone: str) -> None:
        """Resolve the incidents and wait for their provider; exit if one stays open.

        The whole configuration is used: without its rules, the engine would plan queued alerts
        to nothing.

        Args:
            screen: shows the deliveries.
            timeout: seconds to wait.
            undone: the sentence about the part that is not done if one stays open.

        Raises:
            ConfigurationError: the configuration is wrong.
            StoreError: the store cannot be used.
        """
        source = self.accounts.source
        with open_session(source, configuration.load(source), screen) as session:
            tracker = resolve_all(
                session, lambda admin: [row.id for row in self._find(admin)], timeout
            )
        if not tracker.tally.all_well:
            text = f"{undone}: incidents are still open in {self.place}; try again, or use --leave"
            screen.print_error(printable(text))
            screen.exit(success=False)

    def list_open(self, screen: Screen) -> bool:
        """List the incidents; return whether any is open."""
        with view_of(self.accounts) as view:
            rows = self._find(view.admin)
            if rows:
                screen.table(table(f"Open in {printable(self.place)}", rows[:SHOWN], view))
        if len(rows) > SHOWN:
            screen.print_error(f"and {len(rows) - SHOWN} more", "yellow")
        return bool(rows)

    def _find(self, admin: Admin) -> list[IncidentRow]:
        most = admin.count_open(self.account)
        rows = admin.incidents(installation=self.account, most=most)
        return [row for row in rows if self.includes(row.incident)]


@click.command(short_help="Remove an account from the store.")
@with_config
@with_yes
@with_choice
@with_timeout
@click.argument("account")
@report_errors
@example("alerthost disconnect acme --resolve")
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
        incidents = OpenIncidents(accounts, account, account)
        chosen = incidents.choose(choice, screen)
        prompts.confirm(f"Disconnect {account}?", yes=yes)
        if chosen == RESOLVE:
            incidents.close(screen, timeout, "not disconnected")
        accounts.store.installations.remove(stored)
    screen.print(printable(f"disconnected {account}"), "green")
