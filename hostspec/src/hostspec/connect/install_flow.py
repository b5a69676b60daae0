"""The install flow: connect an account in the browser, on the provider's page.

Any host can use it, also with several processes. It takes two calls:

1. ``request = flow.begin(callback_url, settings)``: store ``request.pending`` (in
   `PendingInstalls`, the user's session, or a table; `hostspec.to_json` returns its JSON) and
   redirect the browser to ``request.url``.
2. The browser returns to the callback URL. Look up the pending install by the parameter
   ``state``, then call ``connected = flow.finish(parameters, pending, installations=...)``. Store
   ``connected.installation`` and redirect the browser to ``connected.return_url``.

The callback's address contains secrets: do not log it, and always answer with a redirect and
`CALLBACK_HEADERS`, so that neither the history nor ``Referer`` keeps it.

A state is valid once. In the user's session, it is also bound to the user. In a table, mark it as
used in one statement (``UPDATE ... SET used = 1 WHERE state = ? AND used = 0``); if the state
exists but no row changes, pass the pending install with ``used=True``.
"""

from __future__ import annotations

import abc
import datetime as dt
import enum
import hmac
import secrets
import threading
import types
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, Generic, Self, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import attrs

from hostspec.delivery import frozen
from hostspec.errors import Fault, FaultsError
from hostspec.normalisation import FrozenDict, Json
from hostspec.provider import Installation
from hostspec.structuring import settings_to_json, structure
from hostspec.text import is_loopback

B = TypeVar("B")
"""The attrs class of the flow's settings."""
S = TypeVar("S")
"""The attrs class of an installation's settings."""

STATE: Final = "state"
"""The callback's parameter that identifies the pending install (its name in OAuth 2.0)."""

LIFETIME: Final = dt.timedelta(hours=1)
"""The time limit between the two calls."""

CALLBACK_HEADERS: Final[Mapping[str, str]] = types.MappingProxyType(
    {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
)
"""The headers of the answer to a callback, so that nothing keeps its address."""


class InstallProblem(enum.StrEnum):
    """The reasons why an install flow fails."""

    WRONG_STATE = enum.auto()
    """The state is missing or unknown: perhaps a forgery."""
    REUSED_STATE = enum.auto()
    """The state was used before: a reloaded page, or a forgery."""
    EXPIRED_STATE = enum.auto()
    """The time limit is over."""
    MISSING_ANSWER = enum.auto()
    """The provider sent nothing: perhaps the user cancelled."""
    EMPTY_ANSWER = enum.auto()
    """The provider sent a blank answer."""
    UNREADABLE_ANSWER = enum.auto()
    """The answer is not in the provider's format."""
    MALFORMED_ANSWER = enum.auto()
    """The answer is in the provider's format, but lacks required parts."""
    NOTHING_USABLE = enum.auto()
    """The answer contains nothing usable."""


class InstallError(Exception):
    """An install flow failed; nothing has changed. The message contains no secret.

    Attributes:
        problem: the kind of failure.
        reason: the reason and the remedy, for the operator.
        return_url: the page to redirect the browser to; empty if unknown.
    """

    def __init__(self, problem: InstallProblem, reason: str, return_url: str = "") -> None:
        super().__init__(reason)
        self.problem = problem
        self.reason = reason
        self.return_url = return_url

    def __reduce__(self) -> tuple[type[Self], tuple[InstallProblem, str, str]]:
        return type(self), (self.problem, self.reason, self.return_url)


@attrs.frozen
class PendingInstall:
    """An install flow between its two calls, for the host to store.

    Attributes:
        provider: the provider's name.
        state: its unguessable id.
        expires_at: the end of the time limit.
        return_url: the page to redirect the browser to in the end.
        settings: the flow's settings, as JSON.
        used: its state was used before.
    """

    provider: str
    state: str = attrs.field(repr=False)
    expires_at: dt.datetime
    return_url: str
    settings: Mapping[str, Json] = attrs.field(factory=FrozenDict, converter=frozen)
    used: bool = False


@attrs.frozen
class InstallRequest:
    """The start of an install flow.

    Attributes:
        url: the page to redirect the browser to.
        pending: the pending install, to store until the callback.
    """

    url: str = attrs.field(repr=False)  # contains the state
    pending: PendingInstall


@attrs.frozen
class Skipped:
    """An item of the provider's answer that cannot be connected.

    Attributes:
        kind: the provider's name for this kind of item, if any.
        name: its name, if any.
        reason: the reason, without secrets.
    """

    kind: str
    name: str
    reason: str


@attrs.frozen
class Connected(Generic[S]):
    """A connected account.

    Attributes:
        installation: the installation to store, with literal secrets. It replaces the
            installation of the same name, if there is one.
        again: it replaces an installation.
        notes: remarks for the operator, a sentence each.
        skipped: the skipped items.
        return_url: the page to redirect the browser to.
    """

    installation: Installation[S]
    again: bool = False
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    return_url: str = ""


class InstallFlow(abc.ABC, Generic[B, S]):
    """Connects an account in a browser. Pure: no network, no store.

    Class attributes:
        provider: the provider's name.
        settings: the attrs class of the flow's settings (`hostspec.settings`).
    """

    provider: ClassVar[str]
    settings: type[B]

    @abc.abstractmethod
    def address(self, redirect_url: str, settings: B) -> str:
        """Return the address of the provider's page.

        Args:
            redirect_url: the callback, to which the provider redirects; not encoded yet.
            settings: the flow's settings.
        """

    @abc.abstractmethod
    def connect(
        self,
        parameters: Mapping[str, str],
        settings: B,
        installations: Iterable[Installation[Any]],
    ) -> Connected[S]:
        """Build an installation from the parameters of a callback with a valid state.

        Raises:
            InstallError: the provider's answer is invalid.
        """

    def begin(
        self,
        callback_url: str,
        settings: B,
        *,
        return_url: str = "",
        now: dt.datetime | None = None,
        state: str | None = None,
    ) -> InstallRequest:
        """Start the flow: return the page to open, and the pending install to store.

        Args:
            callback_url: the host's URL for the callback; https, or on loopback.
            settings: the flow's settings.
            return_url: the page to redirect the browser to in the end; empty for the callback URL
                without its query, and so without secrets.
            now: the time; None for the system clock.
            state: a new random text; None for one of 256 bits.

        Raises:
            FaultsError: the callback URL is invalid.
        """
        if fault := _callback_fault(callback_url):
            raise FaultsError([Fault("callback_url", fault)])
        state = state or secrets.token_urlsafe(32)
        parts = urlsplit(callback_url)
        query = "&".join(filter(None, (parts.query, urlencode({STATE: state}))))
        pending = PendingInstall(
            provider=self.provider,
            state=state,
            expires_at=(now or dt.datetime.now(dt.UTC)) + LIFETIME,
            return_url=return_url or urlunsplit(parts._replace(query="", fragment="")),
            settings=settings_to_json(settings),
        )
        redirect_url = urlunsplit(parts._replace(query=query, fragment=""))
        return InstallRequest(self.address(redirect_url, settings), pending)

    def finish(
        self,
        parameters: Mapping[str, str],
        pending: PendingInstall | None,
        *,
        installations: Iterable[Installation[Any]] = (),
        now: dt.datetime | None = None,
    ) -> Connected[S]:
        """Finish the flow: check the state, and build an installation from the answer.

        Args:
            parameters: the decoded parameters of the callback.
            pending: the pending install of their state, or of the user's session, if any.
            installations: all installations of the host: an account that is connected again is
                merged into its installation, and a new one gets a unique name.
            now: the time; None for the system clock.

        Raises:
            InstallError: the flow failed; start a new one.
        """
        known = self._known(parameters, pending, now or dt.datetime.now(dt.UTC))
        try:
            connected = self.connect(
                parameters, structure(self.settings, known.settings), installations
            )
        except InstallError as error:
            error.return_url = known.return_url
            raise
        return attrs.evolve(connected, return_url=known.return_url)

    def _known(
        self, parameters: Mapping[str, str], pending: PendingInstall | None, now: dt.datetime
    ) -> PendingInstall:
        state = parameters.get(STATE, "")
        if pending is None or pending.provider != self.provider or not _same(state, pending.state):
            raise InstallError(
                InstallProblem.WRONG_STATE,
                "the callback belongs to no install flow that was started here",
            )
        if pending.used:
            problem, reason = (
                InstallProblem.REUSED_STATE,
                "the callback was used before; begin again",
            )
            raise InstallError(problem, reason, pending.return_url)
        if now >= pending.expires_at:
            problem, reason = InstallProblem.EXPIRED_STATE, "the time limit is over; begin again"
            raise InstallError(problem, reason, pending.return_url)
        return pending


class PendingInstalls:
    """Stores pending installs in memory, for a host with one process; thread-safe.

    Args:
        most: the maximum number of them; beyond it the oldest are dropped.
    """

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: dict[str, PendingInstall] = {}

    def keep(self, pending: PendingInstall) -> None:
        """Store a pending install."""
        with self._lock:
            self._kept[pending.state] = pending
            while len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]

    def take(self, parameters: Mapping[str, str]) -> PendingInstall | None:
        """Return the pending install of a callback, if any; from the second call on as used."""
        with self._lock:
            pending = self._kept.get(parameters.get(STATE, ""))
            if pending is not None:
                self._kept[pending.state] = attrs.evolve(pending, used=True)
            return pending


def _same(one: str, other: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))


def _callback_fault(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return f"is not a URL: {error}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "is not an http or https URL; use https://HOST/PATH"
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        return (
            "is not encrypted, but the callback contains secrets; use https, or a loopback address"
        )
    if STATE in dict(parse_qsl(parts.query, keep_blank_values=True)):
        return f"has a parameter {STATE!r}, which the install flow adds"
    return None
