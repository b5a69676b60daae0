"""Connecting accounts: the install flow, in a browser, and discovery, through an API."""

from __future__ import annotations

import abc
import datetime as dt
import enum
import hmac
import secrets
import threading
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, Generic, Self, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import attrs

from hostspec.delivery import frozen
from hostspec.errors import Fault, FaultsError
from hostspec.normalisation import FrozenDict, Json
from hostspec.provider import Installation
from hostspec.structuring import settings_to_json, structure
from hostspec.text import is_loopback

__all__ = [
    "CALLBACK_HEADERS",
    "Connected",
    "Discovery",
    "DiscoveryError",
    "Found",
    "FoundState",
    "InstallError",
    "InstallFlow",
    "InstallProblem",
    "InstallRequest",
    "PendingInstall",
    "PendingInstalls",
    "Skipped",
]

B = TypeVar("B")
"""The attrs class of a flow's or a discovery's settings."""
S = TypeVar("S")
"""The attrs class of an installation's settings."""

STATE: Final = "state"
"""The callback's parameter that identifies the pending install (its name in OAuth 2.0)."""

LIFETIME: Final = dt.timedelta(hours=1)
"""The time limit between the two calls of an install flow."""

CALLBACK_HEADERS: Final[Mapping[str, str]] = types.MappingProxyType(
    {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
)
"""The headers of the answer to a callback, so that nothing keeps its address."""


@attrs.frozen
class Skipped:
    """An item of the provider's answer that cannot be connected.

    ``kind`` is the provider's name for this kind of item, if any. No reason contains a secret.
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
    """An install flow failed; nothing has changed. The reason has the remedy, and no secret.

    ``return_url`` is the page to redirect the browser to; empty if unknown.
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
        state: its unguessable id.
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
    """The start of an install flow: redirect the browser to ``url``, and store ``pending``."""

    url: str = attrs.field(repr=False)  # contains the state
    pending: PendingInstall


class InstallFlow(abc.ABC, Generic[B, S]):
    """Connects an account in the browser, on the provider's page. Pure: no network, no store.

    Any host can use it, also with several processes. It takes two calls:

    1. ``request = flow.begin(callback_url, settings)``: store ``request.pending`` (in
       `PendingInstalls`, the user's session, or a table; `hostspec.to_json` returns its JSON) and
       redirect the browser to ``request.url``.
    2. The browser returns to the callback URL. Look up the pending install by the parameter
       ``state``, then call ``connected = flow.finish(parameters, pending, installations=...)``.
       Store ``connected.installation`` and redirect the browser to ``connected.return_url``.

    The callback's address contains secrets: do not log it, and always answer with a redirect and
    `CALLBACK_HEADERS`, so that neither the history nor ``Referer`` keeps it.

    A state is valid once. In the user's session, it is also bound to the user. In a table, mark
    it as used in one statement (``UPDATE ... SET used = 1 WHERE state = ? AND used = 0``); if the
    state exists but no row changes, pass the pending install with ``used=True``.

    Class attributes:
        provider: the provider's name.
        settings: the attrs class of the flow's settings (`hostspec.settings`).
    """

    provider: ClassVar[str]
    settings: type[B]

    @abc.abstractmethod
    def address(self, redirect_url: str, settings: B) -> str:
        """Return the address of the provider's page; the redirect URL is not encoded yet."""

    @abc.abstractmethod
    def connect(
        self, parameters: Mapping[str, str], settings: B, installations: Iterable[Installation[Any]]
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

        An account that is connected again is merged into its installation; a new one gets a
        unique name.

        Args:
            parameters: the decoded parameters of the callback.
            pending: the pending install of their state, or of the user's session, if any.
            installations: all installations of the host.
            now: None for the system clock.

        Raises:
            InstallError: the flow failed; start a new one.
        """
        state = parameters.get(STATE, "")
        if pending is None or pending.provider != self.provider or not _same(state, pending.state):
            reason = "the callback belongs to no install flow that was started here"
            raise InstallError(InstallProblem.WRONG_STATE, reason)
        if pending.used:
            reason = "the callback was used before; begin again"
            raise InstallError(InstallProblem.REUSED_STATE, reason, pending.return_url)
        if (now or dt.datetime.now(dt.UTC)) >= pending.expires_at:
            reason = "the time limit is over; begin again"
            raise InstallError(InstallProblem.EXPIRED_STATE, reason, pending.return_url)
        settings = structure(self.settings, pending.settings)
        try:
            connected = self.connect(parameters, settings, installations)
        except InstallError as error:
            error.return_url = pending.return_url
            raise
        return attrs.evolve(connected, return_url=pending.return_url)


class PendingInstalls:
    """Stores the last pending installs in memory, for a host with one process; thread-safe."""

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


class DiscoveryError(Exception):
    """A discovery failed; the message gives the reason and the remedy, without a secret.

    No installation is changed. The next discovery finds everything that was created before.
    """


class FoundState(enum.StrEnum):
    """Whether an item can be connected."""

    READY = enum.auto()
    """It can be connected as it is."""
    MISSING = enum.auto()
    """It lacks something, which is created at the provider when it is connected."""
    UNUSABLE = enum.auto()
    """It cannot be connected; its detail gives the reason."""


@attrs.frozen
class Found:
    """An item that can become a destination; its detail is for the operator, without secrets."""

    id: str
    name: str
    state: FoundState
    detail: str = ""


class Discovery(abc.ABC, Generic[B, S]):
    """Connects an account through the provider's API. Does I/O; thread-safe.

    Any host can use it, in a terminal or on a page. It takes two calls; both do I/O:

    1. ``found = discovery.find(settings)``: list the services, and let the operator choose.
    2. ``connected = discovery.connect(ids, settings, installations=...)``: store
       ``connected.installation``, as after an `InstallFlow`.

    The settings hold the credentials, usually a token. The installation does not need them: store
    them only if the operator asks for it.

    Class attributes:
        provider: the provider's name.
        settings: the attrs class of its settings (`hostspec.settings`).
    """

    provider: ClassVar[str]
    settings: type[B]

    @abc.abstractmethod
    def find(self, settings: B) -> Sequence[Found]:
        """List the items of the account, in the provider's order; changes nothing there.

        Raises:
            DiscoveryError: the provider cannot be reached, or its answer is invalid.
        """

    @abc.abstractmethod
    def connect(
        self,
        chosen: Sequence[str],
        settings: B,
        installations: Iterable[Installation[Any]] = (),
        *,
        name: str = "",
    ) -> Connected[S]:
        """Build an installation of the chosen items, and create missing parts at the provider.

        Repeating the call duplicates nothing. Items that cannot be connected are skipped, with
        the reason. After a failure to create a part, all other incomplete items are skipped, too;
        if nothing had been created yet, it is an error. An account that is connected again is
        merged into its installation; a new one gets a unique name.

        Args:
            chosen: the ids of the chosen items.
            settings: the discovery's settings.
            installations: all installations of the host.
            name: the name of a new installation; empty for that of the account.

        Raises:
            DiscoveryError: nothing could be connected.
        """
