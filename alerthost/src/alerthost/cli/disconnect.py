"""What is to be disconnected or removed: what is open there, and closing it first."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from alerthost.cli import incidents, operations, prompts, session
from alerthost.cli.commands import Command
from alerthost.cli.incidents import Reach
from alerthost.cli.screen import Screen, printable
from alerthost.config import configuration, store
from alerthost.config.accounts import Accounts
from alerthost.config.configuration import Configuration
from alerthost.config.destinations import LaneNames
from alerthost.config.document import refuse
from hostspec.delivery import Incident
from hostspec.demo import Table
from hostspec.plugins.attempt import can_follow_up
from hostspec.provider import Installation

if TYPE_CHECKING:
    from alerthost.outbox.admin import Admin
    from alerthost.outbox.admin_rows import IncidentRow

RESOLVE: Final = "resolve"
LEAVE: Final = "leave"

SHOWN: Final = 20
"""Incidents that are listed, at most."""


def with_choice(command: Command) -> Command:
    """Add the options that decide about open incidents; see `Departing.choose`."""
    leave = click.option("--leave", "what", flag_value=LEAVE, help="Leave open what is open there.")
    resolve = click.option(
        "--resolve", "what", flag_value=RESOLVE, help="Close first what is open there."
    )
    return resolve(leave(command))


@attrs.frozen
class Departing:
    """What nobody here could close any more, once something is gone.

    Attributes:
        accounts: all of them.
        account: in which it is.
        place: what is gone then, for a person.
        is_left: whether an incident of the account is one of those.
    """

    accounts: Accounts
    account: str
    place: str
    is_left: Callable[[Incident], bool] = lambda _: True

    @classmethod
    def by_change(
        cls, accounts: Accounts, before: Installation[Any], after: Installation[Any], place: str
    ) -> Departing:
        """Return the incidents that can be followed up before a change of an account only."""

        def is_left(incident: Incident) -> bool:
            action = accounts.plugins.actions.get(incident.ref.action)
            if action is None:
                return False
            return can_follow_up(action, incident, before) and not can_follow_up(
                action, incident, after
            )

        return cls(accounts, before.name, place, is_left)

    def choose(self, what: str | None, screen: Screen) -> str:
        """List what is open there, and say what to do about it; a person is asked.

        Args:
            what: what was said before; None for nothing.
            screen: where it is listed.

        Returns:
            `RESOLVE` or `LEAVE`; nothing where nothing is open.

        Raises:
            ConfigurationError: nobody said what to do, and there is nobody to ask.
            StoreError: the store cannot be read.
        """
        if not self.list_open(screen):
            return ""
        if what is not None:
            return what
        if not prompts.can_ask():
            refuse("", "incidents are open there: say --resolve to close them first, or --leave")
        question = "Close them first, or leave them open"
        return str(click.prompt(question, type=click.Choice([RESOLVE, LEAVE]), err=True))

    def close(self, screen: Screen, timeout: float, undone: str) -> None:
        """Close all of it, and wait until the provider knows; end the command if it does not.

        By the whole configuration: an engine without its rules would plan what waits to be
        planned, and page nobody.

        Args:
            screen: where it is shown.
            timeout: seconds to wait.
            undone: what is not done then, for a person.

        Raises:
            ConfigurationError: the configuration is wrong.
            StoreError: the store cannot be used.
        """
        source = self.accounts.source
        with session.begun(source, configuration.load(source), screen) as begun:
            numbers = [case.id for case in self._open(begun.engine.admin)]
            following = operations.resolve(begun, numbers, timeout)
        if not following.tally.all_well:
            told = f"{undone}: something is still open in {self.place}; try again, or --leave"
            screen.complain(printable(told))
            sys.exit(1)

    def list_open(self, screen: Screen) -> bool:
        """List what is open there; say whether there is something."""
        from alerthost.outbox.admin import Admin  # noqa: PLC0415 -- libraries that take their time

        plugins, installations = self.accounts.plugins, self.accounts.installations()
        lanes = LaneNames.of(Configuration(plugins, installations, ()))
        with store.database_of(self.accounts.source) as database:
            found = self._open(Admin(database, plugins, time.time))
        if found:
            reach = Reach.of(plugins, installations)
            listed = incidents.table(found[:SHOWN], lanes, reach, time.time())
            screen.table(Table(f"Open in {printable(self.place)}", listed.columns, listed.rows))
        if len(found) > SHOWN:
            screen.complain(f"and {len(found) - SHOWN} more", "yellow")
        return bool(found)

    def _open(self, admin: Admin) -> list[IncidentRow]:
        most = admin.count_open(self.account)
        every = admin.incidents(installation=self.account, most=most)
        return [case for case in every if self.is_left(case.incident)]
