"""An account that is to be disconnected: what is open there, and closing it first."""

from __future__ import annotations

import time
from typing import Final

from hostspec.demonstration import Table
from hostspec.host import closing, configuration, incidents, store, work
from hostspec.host.accounts import Accounts
from hostspec.host.configuration import Configuration
from hostspec.host.incidents import Reach
from hostspec.host.lanes import Lanes
from hostspec.host.screen import Screen, printable

RESOLVE: Final = "resolve"
LEAVE: Final = "leave"

SHOWN: Final = 20
"""Incidents that are listed, at the most."""


class Departing:
    """What is open in an account that is to be disconnected.

    Args:
        accounts: all of them.
        name: of the one.
    """

    def __init__(self, accounts: Accounts, name: str) -> None:
        self._accounts = accounts
        self._name = name

    def tell(self, screen: Screen) -> bool:
        """List what is open there; say whether there is something.

        Raises:
            StoreError: the store cannot be read.
        """
        from hostspec.delivery.desk import Desk  # noqa: PLC0415 -- libraries that take their time

        accounts = self._accounts
        installations = accounts.installations()
        reach = Reach.of(accounts.plugins, installations)
        lanes = Lanes.of(Configuration(accounts.plugins, installations, ()))
        with store.database_of(accounts.source) as database:
            desk = Desk(database, accounts.plugins, time.time)
            found = desk.incidents(installation=self._name, most=SHOWN)
            count = desk.count_open(self._name)
        if count:
            listed = incidents.table(found, lanes, reach, time.time())
            screen.table(Table(f"Open in {printable(self._name)}", listed.columns, listed.rows))
        if count > SHOWN:
            screen.complain(f"and {count - SHOWN} more", "yellow")
        return count > 0

    def resolve(self, screen: Screen, timeout: float) -> bool:
        """Close all of it, and wait until the provider knows; say whether it does.

        By the whole configuration: an engine without its rules would plan what waits to be
        planned, and page nobody.

        Raises:
            ConfigurationError: the configuration is wrong.
            StoreError: the store cannot be used.
        """
        source = self._accounts.source
        with work.begun(source, configuration.load(source), screen) as begun:
            desk = begun.engine.desk
            every = desk.incidents(installation=self._name, most=desk.count_open(self._name))
            following = closing.resolve(begun, [case.id for case in every], timeout)
        return following.tally.all_well
