"""What the fake does instead of answering properly, and for how long.

A misbehaviour is a value made by one of the functions below; a script says which requests meet
it. Three things can be told apart in every one of them: whether the event is *taken* (a lost
answer is not a lost event), what is answered, and how it gets onto the wire.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

from pagerduty_plugin.testing import answers

if TYPE_CHECKING:
    from collections.abc import Iterable

Taken: TypeAlias = Literal["at once", "late", "never"]
Wire: TypeAlias = Literal[
    "whole",
    "unread reset",
    "reset",
    "garbage",
    "truncated",
    "dripping",
    "closing",
    "announced closing",
]

GARBAGE: Final = b"\x16\x03\x01\x02\x00 this is no HTTP \xff\xfe\r\n\r\n"
LOGIN_PAGE: Final = (
    b"<!doctype html><title>Guest network</title><p>Please log in to use this network.</p>"
)


class Gate:
    """Holds requests back until it is opened; once open it stays open."""

    def __init__(self) -> None:
        """Start closed."""
        self._opened = threading.Event()

    def open(self) -> None:
        """Let every request that waits, and every later one, pass."""
        self._opened.set()

    def wait(self) -> None:
        """Wait until the gate is open."""
        self._opened.wait()


@attrs.frozen(kw_only=True)
class Misbehaviour:
    """How a request is treated instead of properly.

    Attributes:
        name: What the request log calls it.
        taken: When the account takes the event: ``at once``, ``late`` (after the wait, even if
            the sender has gone by then) or ``never``.
        answer: What is answered; None is the account's own answer, so the event must be taken.
        wire: How the answer is sent: ``whole``; ``unread reset`` (reset before the body is read)
            or ``reset`` (after it); ``garbage`` (bytes that are no HTTP); ``truncated`` (the
            connection closes in the middle of the body); ``dripping`` (byte by byte);
            ``closing`` (the connection closes after the response without saying so);
            ``announced closing`` (the response says so, and whatever the sender sends over the
            connection after it is answered with a reset).
        gate: What to wait for before answering.
        seconds: How long to wait before answering or, dripping, before every byte.
    """

    name: str
    taken: Taken = "never"
    answer: answers.Answer | None = None
    wire: Wire = "whole"
    gate: Gate | None = None
    seconds: float = 0.0

    def __attrs_post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.taken == "never" and self.answer is None and self.needs_answer:
            msg = f"{self.name}: an event that is never taken has no answer of its own"
            raise ValueError(msg)

    @property
    def waits(self) -> bool:
        """Whether anything is waited for before the answer."""
        return self.gate is not None or self.seconds > 0

    @property
    def needs_answer(self) -> bool:
        """Whether any part of an answer reaches the sender."""
        return self.wire in {"whole", "truncated", "dripping", "closing", "announced closing"}


def late(
    gate: Gate | None = None, *, seconds: float = 0.0, taken: Taken = "at once"
) -> Misbehaviour:
    """Answer properly, but only once the gate is open and the seconds are over."""
    return Misbehaviour(name="late", taken=taken, gate=gate, seconds=seconds)


def dripping(*, seconds: float = 0.01) -> Misbehaviour:
    """Answer properly, byte by byte, each after so many seconds."""
    return Misbehaviour(name="dripping", taken="at once", wire="dripping", seconds=seconds)


def closing(*, announced: bool = False) -> Misbehaviour:
    """Answer properly, then close the kept-alive connection.

    Args:
        announced: False closes it at once and without notice. True answers with
            ``Connection: close`` and lets the sender close it first; another request over it is
            reset (RFC 9112, 9.6).
    """
    wire: Wire = "announced closing" if announced else "closing"
    return Misbehaviour(name=wire, taken="at once", wire=wire)


def truncated() -> Misbehaviour:
    """Answer properly, but close the connection in the middle of the body."""
    return Misbehaviour(name="truncated", taken="at once", wire="truncated")


def reset_unread() -> Misbehaviour:
    """Reset the connection before the body is read, so the event is lost."""
    return Misbehaviour(name="reset unread", wire="unread reset")


def reset(*, taken: Taken = "never") -> Misbehaviour:
    """Reset the connection after the body is read; the event may have been taken."""
    return Misbehaviour(name="reset", taken=taken, wire="reset")


def garbage(*, taken: Taken = "never") -> Misbehaviour:
    """Answer with bytes that are no HTTP, and close."""
    return Misbehaviour(name="garbage", taken=taken, wire="garbage")


def throttling(*, retry_after: str | None = None) -> Misbehaviour:
    """Answer 429, by wish with a ``Retry-After`` header."""
    return Misbehaviour(name="throttling", answer=answers.throttled(retry_after))


def failing(
    status: int = 500, body: bytes = b"Internal Server Error", *, taken: Taken = "never"
) -> Misbehaviour:
    """Answer with an error status and plain text; the event may have been taken."""
    return Misbehaviour(name=f"failing {status}", taken=taken, answer=answers.Answer(status, body))


def refusing(text: str = "Invalid routing key") -> Misbehaviour:
    """Answer 400 in plain text."""
    return Misbehaviour(name="refusing", answer=answers.Answer(400, text.encode()))


def captive_portal() -> Misbehaviour:
    """Answer 200 with a web page, as a network that wants a login does."""
    return Misbehaviour(name="captive portal", answer=answers.Answer(200, LOGIN_PAGE, answers.HTML))


def redirecting(location: str, *, status: int = 307) -> Misbehaviour:
    """Answer with a redirect."""
    return Misbehaviour(
        name="redirecting",
        answer=answers.Answer(status, headers=(("Location", location),)),
    )


def accepting_without_json(body: bytes = b"Accepted") -> Misbehaviour:
    """Take the event and answer 202 with a body that is no JSON."""
    return Misbehaviour(
        name="accepting without JSON", taken="at once", answer=answers.Answer(202, body)
    )


@attrs.define(eq=False)
class Script:
    """A misbehaviour and the requests that meet it.

    Attributes:
        misbehaviour: What they meet.
        remaining: How many more requests meet it; None is until cleared.
        key: The integration key of these requests; None is all of them.
        path: What the path of these requests holds, query included; empty is all of them.
    """

    misbehaviour: Misbehaviour
    remaining: int | None
    key: str | None = attrs.field(repr=False)
    path: str = ""

    def __attrs_post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.remaining is not None and self.remaining < 1:
            msg = "a misbehaviour is for at least one request"
            raise ValueError(msg)
        if self.key is not None and self.misbehaviour.wire == "unread reset":
            msg = "whose request it is stands in the body, which this misbehaviour never reads"
            raise ValueError(msg)

    def clear(self) -> None:
        """Let no further request meet it; those that wait at its gate go on waiting."""
        self.remaining = 0

    def fits(self, path: str) -> bool:
        """Whether requests with this path may still meet it."""
        return self.remaining != 0 and self.path in path

    def use(self) -> Misbehaviour:
        """Count one request that meets it."""
        if self.remaining is not None:
            self.remaining -= 1
        return self.misbehaviour


def next_unread(scripts: Iterable[Script], path: str) -> Misbehaviour | None:
    """Choose for a request whose body is not read yet, among scripts in the order given."""
    for script in scripts:
        if script.fits(path) and script.key is None:
            return script.use() if script.misbehaviour.wire == "unread reset" else None
    return None


def next_read(scripts: Iterable[Script], path: str, key: str | None) -> Misbehaviour | None:
    """Choose for a request with this integration key, among scripts in the order given."""
    for script in scripts:
        if script.fits(path) and script.key in {None, key}:
            return script.use()
    return None
