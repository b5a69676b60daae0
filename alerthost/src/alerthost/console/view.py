"""The request for a page, and the results that its handler may return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

import attrs

from alerthost.config.accounts import Accounts
from alerthost.config.configuration import Configuration
from alerthost.config.plugins import LaneNames
from alerthost.console.access import Session
from alerthost.http.responses import Rejection
from alerthost.outbox.activity import Actor
from alerthost.outbox.admin import Admin
from alerthost.outbox.engine import Engine

MOST: Final = 50
"""Rows of one page of a list."""

T = TypeVar("T")

DIGITS: Final = 18
"""Digits of a row's number, at most: databases keep it in 64 bits."""


@attrs.frozen(eq=False)
class View:
    """A request for a page.

    Attributes:
        now: in seconds of the epoch.
        query: parameters of the URL.
        fields: of the form that was sent; empty for a request that changes nothing.
        number: of the object that the path names; 0 without one.
        account: that the path names; empty without one.
        client: the address of the browser.
        origin: the scheme and host at which browsers reach this process.
        open_accounts: opens the accounts of the file and the store.
        reload: uses changed accounts and rules from now on; returns False if the configuration
            has faults.
        reload_errors: of the last reload; empty if it succeeded.
    """

    engine: Engine
    configuration: Configuration
    lanes: LaneNames
    session: Session
    now: float
    query: Mapping[str, str]
    fields: Mapping[str, str]
    number: int
    account: str
    client: str
    origin: str
    open_accounts: Callable[[], AbstractContextManager[Accounts]]
    reload: Callable[[], bool]
    reload_errors: Sequence[str]

    @property
    def admin(self) -> Admin:
        """Shows and changes the store."""
        return self.engine.admin

    @property
    def actor(self) -> Actor:
        """The operator, for the activity log."""
        return Actor(self.session.role, self.client)

    @property
    def after(self) -> int | None:
        """The key after which the page of a list starts; None for its beginning."""
        return number_of(self.query.get("after", "")) or None

    @property
    def text(self) -> str:
        """The text that the rows of the page contain; empty for all."""
        return self.query.get("text", "").strip()

    def finds(self, *values: str) -> bool:
        """Check whether one of the values contains the text of the URL, in any case."""
        return contains(self.text, *values)

    @property
    def services(self) -> Sequence[tuple[str, str]]:
        """The installation and the destination of each configured service."""
        return list(self.lanes.names)

    @property
    def service(self) -> tuple[str, str] | None:
        """The service that the URL asks for; None for all."""
        return service_of(self.query.get("service", ""))

    @property
    def service_choices(self) -> Sequence[tuple[str, str]]:
        """The text of each configured service in a URL, and its name."""
        return [(f"{one}/{two}", self.service_name(one, two)) for one, two in self.services]

    def service_name(self, installation: str, destination: str) -> str:
        """Return the name of a service for people."""
        name = self.lanes.names.get((installation, destination), destination)
        return f"{installation}/{name}"


@attrs.frozen
class Html:
    """A page to render.

    Attributes:
        template: its file.
        values: of its variables.
        status: of the response.
    """

    template: str
    values: Mapping[str, Any]
    status: int = 200


@attrs.frozen
class Redirect:
    """Go to another page of the console, as after each change."""

    url: str


def contains(text: str, *values: str) -> bool:
    """Check whether one of the values contains a text, in any case."""
    return any(text.casefold() in value.casefold() for value in values)


def number_of(text: str) -> int:
    """Return a number that a URL or a form names; 0 for any other text."""
    return int(text) if len(text) <= DIGITS and text.isascii() and text.isdecimal() else 0


def service_of(text: str) -> tuple[str, str] | None:
    """Return the service that a URL or a form names; None for all."""
    installation, slash, destination = text.partition("/")
    return (installation, destination) if slash else None


def existing(found: T | None, kind: str, number: int) -> T:
    """Return an object that was looked for.

    Raises:
        Rejection: it does not exist.
    """
    if found is None:
        reason = f"there is no {kind} {number}; it may have been pruned"
        raise Rejection(404, "path", reason)
    return found
