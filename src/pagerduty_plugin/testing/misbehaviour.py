"""Misbehaviours of the fake, such as errors, delays and broken connections.

The functions below return misbehaviours; a script applies one to some requests. A misbehaviour
decides whether the event is processed (a lost response is not a lost event), what the response
is, and how it is sent.
"""

from __future__ import annotations

import random
import threading
from typing import Final, Literal, TypeAlias

import attrs

from pagerduty_plugin.testing import responses

Processed: TypeAlias = Literal["at once", "late", "never"]
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
    """Blocks requests until it is opened; it cannot be closed again."""

    def __init__(self) -> None:
        self._opened = threading.Event()

    def open(self) -> None:
        """Release all blocked requests, and block none from now on."""
        self._opened.set()

    def wait(self) -> None:
        """Wait until the gate is open."""
        self._opened.wait()


@attrs.frozen(kw_only=True)
class Misbehaviour:
    """How a request is treated instead of properly.

    Attributes:
        name: Its name in the request log.
        processed: When the account processes the event: ``at once``, ``late`` (after the wait,
            even if the sender has disconnected) or ``never``.
        response: The response; None for the account's own, which needs a processed event.
        wire: How the response is sent: ``whole``; ``unread reset`` (reset before the body is read)
            or ``reset`` (after it); ``garbage`` (bytes that are not HTTP); ``truncated`` (the
            connection closes in the middle of the body); ``dripping`` (byte by byte);
            ``closing`` (the connection closes after the response without saying so);
            ``announced closing`` (the response announces it, and later data from the sender is
            answered with a reset).
        gate: The gate to wait for before responding.
        seconds: Seconds to wait before responding or, dripping, before every byte.
    """

    name: str
    processed: Processed = "never"
    response: responses.Response | None = None
    wire: Wire = "whole"
    gate: Gate | None = None
    seconds: float = 0.0

    def __attrs_post_init__(self) -> None:
        """Refuse contradictions."""
        if self.processed == "never" and self.response is None and self.needs_response:
            msg = f"{self.name}: an event that is never processed needs a `response`"
            raise ValueError(msg)

    @property
    def needs_response(self) -> bool:
        """Whether any part of a response reaches the sender."""
        return self.wire in {"whole", "truncated", "dripping", "closing", "announced closing"}


def late(
    gate: Gate | None = None, *, seconds: float = 0.0, processed: Processed = "at once"
) -> Misbehaviour:
    """Respond properly after the gate is opened and the seconds are over."""
    return Misbehaviour(name="late", processed=processed, gate=gate, seconds=seconds)


def dripping(*, seconds: float = 0.01) -> Misbehaviour:
    """Respond properly, byte by byte, each after some seconds."""
    return Misbehaviour(name="dripping", processed="at once", wire="dripping", seconds=seconds)


def closing(*, announced: bool = False) -> Misbehaviour:
    """Respond properly, then close the kept-alive connection.

    Args:
        announced: False closes it at once and without notice. True responds with
            ``Connection: close`` and lets the sender close it first; another request over it is
            reset (RFC 9112, 9.6).
    """
    wire: Wire = "announced closing" if announced else "closing"
    return Misbehaviour(name=wire, processed="at once", wire=wire)


def truncated() -> Misbehaviour:
    """Respond properly, but close the connection in the middle of the body."""
    return Misbehaviour(name="truncated", processed="at once", wire="truncated")


def reset_unread() -> Misbehaviour:
    """Reset the connection before the body is read, so the event is lost."""
    return Misbehaviour(name="reset unread", wire="unread reset")


def reset(*, processed: Processed = "never") -> Misbehaviour:
    """Reset the connection after the body is read; the event may have been processed."""
    return Misbehaviour(name="reset", processed=processed, wire="reset")


def garbage(*, processed: Processed = "never") -> Misbehaviour:
    """Respond with bytes that are not HTTP, and close."""
    return Misbehaviour(name="garbage", processed=processed, wire="garbage")


def throttling(*, retry_after: str | None = None) -> Misbehaviour:
    """Respond with 429, with a ``Retry-After`` header if one is given."""
    return Misbehaviour(name="throttling", response=responses.throttled(retry_after))


def failing(
    status: int = 500, body: bytes = b"Internal Server Error", *, processed: Processed = "never"
) -> Misbehaviour:
    """Respond with an error status and plain text; the event may have been processed."""
    return Misbehaviour(
        name=f"failing {status}", processed=processed, response=responses.Response(status, body)
    )


def refusing(text: str = "Invalid routing key") -> Misbehaviour:
    """Respond with 400 in plain text."""
    return Misbehaviour(name="refusing", response=responses.Response(400, text.encode()))


def captive_portal() -> Misbehaviour:
    """Respond with 200 and a web page, like a network that requires a login."""
    return Misbehaviour(
        name="captive portal", response=responses.Response(200, LOGIN_PAGE, responses.HTML)
    )


def redirecting(location: str, *, status: int = 307) -> Misbehaviour:
    """Respond with a redirect."""
    return Misbehaviour(
        name="redirecting", response=responses.Response(status, headers=(("Location", location),))
    )


def accepting_without_json(body: bytes = b"Accepted") -> Misbehaviour:
    """Take the event and answer 202 with a body that is no JSON."""
    return Misbehaviour(
        name="accepting without JSON", processed="at once", response=responses.Response(202, body)
    )


@attrs.define(eq=False)
class Script:
    """A misbehaviour, and the requests it applies to.

    Attributes:
        misbehaviour: The misbehaviour.
        remaining: The number of further requests; None for all until it is cleared.
        key: The integration key of the requests; None for all.
        path: A part of the path of the requests, including the query; empty for all.
        rate: The share of the requests, from 0 to 1. Which ones depends on their numbers alone, so
            that every run is the same.
    """

    misbehaviour: Misbehaviour
    remaining: int | None
    key: str | None = attrs.field(repr=False)
    path: str = ""
    rate: float = 1.0

    def __attrs_post_init__(self) -> None:
        """Refuse contradictions."""
        if not 0 <= self.rate <= 1:
            msg = f"the rate {self.rate} is not a share from 0 to 1"
            raise ValueError(msg)
        if self.remaining is not None and self.remaining < 1:
            msg = "a misbehaviour applies to at least one request"
            raise ValueError(msg)
        if self.key is not None and self.misbehaviour.wire == "unread reset":
            msg = "the integration key is in the body, which this misbehaviour never reads"
            raise ValueError(msg)

    def clear(self) -> None:
        """Apply it to no further request; requests at its gate stay blocked."""
        self.remaining = 0

    def applies_to(self, number: int, path: str, key: str | None) -> bool:
        """Check whether it still applies to a request, given its number and integration key."""
        meant = self.path in path and self.key in {None, key}
        return self.remaining != 0 and meant and random.Random(number).random() < self.rate  # noqa: S311 - no secret

    def use(self) -> Misbehaviour:
        """Count one request."""
        if self.remaining is not None:
            self.remaining -= 1
        return self.misbehaviour
