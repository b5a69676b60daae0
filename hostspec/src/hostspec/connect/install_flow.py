"""Setup: connecting an account by sending a person to the provider, who sends them back.

Any host can drive it, with several processes too. Two calls, and one thing to keep between them:

1. ``begun = setup.begin(callback_url, settings)``: keep ``begun.pending`` (`PendingInstalls`, the
   person's session, or a table; `hostspec.to_json` gives its JSON) and send the person's browser
   to ``begun.url``.
2. The browser comes back to the callback URL. Take what was kept under the ``state`` among its
   parameters, then ``connected = setup.finish(parameters, pending, installations=...)``: store
   ``connected.installation`` and redirect the browser to ``connected.return_url``.

The address of the callback holds secrets: do not log it, and answer with a redirect and
`CALLBACK_HEADERS` in every case, so that neither history nor ``Referer`` keeps it.

A state is good once. Keeping it in the session of the person who began binds it to them as well.
In a table, take it in one statement (``UPDATE ... SET used = 1 WHERE state = ? AND used = 0``);
where that changes no row though the state is there, pass the pending setup on with ``used=True``.
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
"""The attrs class of what has to be known to begin."""
S = TypeVar("S")
"""The attrs class of an installation's settings."""

STATE: Final = "state"
"""The callback's parameter that names the pending setup (the name OAuth 2.0 gave it)."""

LIFETIME: Final = dt.timedelta(hours=1)
"""How long a person may take."""

CALLBACK_HEADERS: Final[Mapping[str, str]] = types.MappingProxyType(
    {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
)
"""What the answer to a callback says, so that nothing keeps its address."""


class InstallProblem(enum.StrEnum):
    """Why a setup did not come to an end."""

    WRONG_STATE = enum.auto()
    """No pending setup has this state, or the callback has none: perhaps a forgery."""
    REUSED_STATE = enum.auto()
    """The state was used before: a page loaded again, or a forgery."""
    EXPIRED_STATE = enum.auto()
    """The person took too long."""
    MISSING_ANSWER = enum.auto()
    """The provider sent nothing: perhaps the person cancelled."""
    EMPTY_ANSWER = enum.auto()
    """The provider sent a blank answer."""
    UNREADABLE_ANSWER = enum.auto()
    """The answer is not in the provider's format."""
    MALFORMED_ANSWER = enum.auto()
    """The answer is in the format, but not of the shape."""
    NOTHING_USABLE = enum.auto()
    """The answer holds nothing that could be used."""


class InstallError(Exception):
    """A setup that did not come to an end; nothing has changed. The message holds no secret.

    Attributes:
        problem: why.
        reason: the same for a person, with what to do.
        return_url: where to redirect the browser; empty where no pending setup says it.
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
    """A setup between its two calls, for the host to keep.

    Attributes:
        provider: the provider's name.
        state: names it, and cannot be guessed.
        expires_at: when it is too late to finish.
        return_url: where the browser goes when all is done.
        settings: what it was begun with, as JSON.
        used: it was taken before.
    """

    provider: str
    state: str = attrs.field(repr=False)
    expires_at: dt.datetime
    return_url: str
    settings: Mapping[str, Json] = attrs.field(factory=FrozenDict, converter=frozen)
    used: bool = False


@attrs.frozen
class InstallRequest:
    """What a begun setup needs from the host.

    Attributes:
        url: where to send the person's browser.
        pending: what to keep until it comes back.
    """

    url: str = attrs.field(repr=False)  # it holds the state
    pending: PendingInstall


@attrs.frozen
class Skipped:
    """Something in the provider's answer that no installation can use.

    Attributes:
        kind: what the provider calls its kind; empty where it has none.
        name: what the provider calls it; empty where it has no name.
        reason: why it was left aside; without secrets.
    """

    kind: str
    name: str
    reason: str


@attrs.frozen
class Connected(Generic[S]):
    """An account that is connected.

    Attributes:
        installation: for the host to store: its secrets are given as themselves. It stands in
            the place of the installation of the same name, if the host gave one.
        again: it stands in such a place.
        notes: what a person should know, a sentence each.
        left_aside: what could not be used.
        return_url: where to redirect the browser.
    """

    installation: Installation[S]
    again: bool = False
    notes: tuple[str, ...] = ()
    left_aside: tuple[Skipped, ...] = ()
    return_url: str = ""


class InstallFlow(abc.ABC, Generic[B, S]):
    """How an account of a provider is connected in a browser. Pure: no network, no store.

    Class attributes:
        provider: the provider's name.
        settings: the attrs class of what has to be known to begin (`hostspec.settings`).
    """

    provider: ClassVar[str]
    settings: type[B]

    @abc.abstractmethod
    def address(self, redirect_url: str, settings: B) -> str:
        """Return the provider's page that a person is sent to.

        Args:
            redirect_url: where the provider sends the browser afterwards, not encoded yet.
            settings: what has to be known.
        """

    @abc.abstractmethod
    def connect(
        self,
        parameters: Mapping[str, str],
        settings: B,
        installations: Iterable[Installation[Any]],
    ) -> Connected[S]:
        """Make an installation of the callback's parameters, whose state was right.

        Raises:
            InstallError: what the provider sent will not do.
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
        """Begin: make the address to send a person to, and what to keep until they are back.

        Args:
            callback_url: the host's URL that takes the callback; https, or on loopback.
            settings: what has to be known.
            return_url: where the browser goes when all is done, without secrets in its history;
                empty for the callback URL without its query.
            now: the time; None asks the clock.
            state: a fresh random text; None makes one of 256 bits.

        Raises:
            FaultsError: the callback URL cannot be.
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
        """Finish: check the state, then make an installation of what the provider sent.

        Args:
            parameters: the callback's, decoded.
            pending: what was kept under their state, or for this person; None for nothing.
            installations: all that the host has: an account that is connected again is merged
                into its installation, and a new one gets a name of its own.
            now: the time; None asks the clock.

        Raises:
            InstallError: with the reason; a setup is not finished twice, so begin again.
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
                InstallProblem.WRONG_STATE, "the callback belongs to no setup that was begun here"
            )
        if pending.used:
            problem, reason = (
                InstallProblem.REUSED_STATE,
                "the callback was used before; begin again",
            )
            raise InstallError(problem, reason, pending.return_url)
        if now >= pending.expires_at:
            problem, reason = InstallProblem.EXPIRED_STATE, "the setup took too long; begin again"
            raise InstallError(problem, reason, pending.return_url)
        return pending


class PendingInstalls:
    """Keeps pending setups in memory, for a host of one process; safe for several threads.

    Args:
        most: how many are kept; the oldest make room.
    """

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: dict[str, PendingInstall] = {}

    def keep(self, pending: PendingInstall) -> None:
        """Keep a pending setup."""
        with self._lock:
            self._kept[pending.state] = pending
            while len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]

    def take(self, parameters: Mapping[str, str]) -> PendingInstall | None:
        """Return the pending setup of a callback, fresh once; None where none is kept."""
        with self._lock:
            pending = self._kept.get(parameters.get(STATE, ""))
            if pending is not None:
                self._kept[pending.state] = attrs.evolve(pending, used=True)
            return pending


def _same(one: str, other: str) -> bool:
    """Compare in a time that tells nothing."""
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))


def _callback_fault(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return f"is no URL: {error}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "is no URL of a web page; right would be 'https://HOST/PATH'"
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        return "is not encrypted, and the callback brings secrets; only loopback may be plain http"
    if STATE in dict(parse_qsl(parts.query, keep_blank_values=True)):
        return f"has a parameter {STATE!r}, which is the setup's own"
    return None
