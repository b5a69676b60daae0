"""What PagerDuty's reply to an event means (guide "Events API v2 Overview"). Pure."""

from __future__ import annotations

import datetime as dt
import email.utils
import enum
import json
import math
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import attrs

from hostspec import Outcome, OutcomeKind
from hostspec.text import clean_text, shorten

LONGEST_REASON: Final = 2000
"""Characters of a reply that are told; an error page of a proxy may be long."""

LONGEST_TARGET: Final = 200
"""Characters of a redirect's target that are shown."""

LONGEST_PAUSE: Final = 300.0
"""Seconds of a Retry-After that are heeded. PagerDuty documents no such header, counts over the
last 60 seconds, and advises to back off "a few minutes"."""


_KEY_UNKNOWN: Final = re.compile(r"invalid ?routing ?key", re.IGNORECASE)
"""How PagerDuty has spoken, in plain text, of a key that it does not know."""

_KEY_MALFORMED: Final = "'routing_key'"
"""How PagerDuty has spoken, in JSON, of a key of the wrong form."""


@attrs.frozen
class Reply:
    """An HTTP reply.

    Attributes:
        status: the code.
        text: the body, as far as it was read.
        retry_after: the header of that name; empty where there is none.
        location: the same.
    """

    status: int
    text: str
    retry_after: str = ""
    location: str = ""

    @property
    def redirect(self) -> str:
        """The target of a redirect, without user, query and fragment, which may be secret."""
        try:
            parts = urlsplit(self.location)
            host = parts.netloc.rpartition("@")[2]
            shown = parts._replace(netloc=host, query="", fragment="").geturl()
        except ValueError:
            shown = ""
        shown = " ".join(clean_text(shown).split())
        if not shown:
            return f"{self.status}, a redirect"
        cut = shorten(shown, LONGEST_TARGET)
        return f"{self.status}, a redirect to {cut}"


class Trouble(enum.Enum):
    """Why there is no reply."""

    NETWORK = enum.auto()
    """No connection, a broken one, or none in time."""
    CONFIGURATION = enum.auto()
    """It will not work before somebody changes a setting."""


@attrs.frozen
class NoReply:
    """Nothing that HTTP knows came back.

    Attributes:
        trouble: what kind of thing went wrong.
        reason: in words; without secrets.
        sent: whether the event may have gone out before.
    """

    trouble: Trouble
    reason: str
    sent: bool = True


def judge(reply: Reply | NoReply, now: dt.datetime, *, idempotent: bool = True) -> Outcome:
    """Turn what came back into an outcome.

    Args:
        reply: what came back.
        now: the time, for a Retry-After that names a date.
        idempotent: whether a repeat of the event comes to the same. Without it, what may have
            arrived is *uncertain*.
    """
    outcome = _judge(reply, now)
    if idempotent or not outcome.kind.may_have_arrived or outcome.delivered:
        return outcome
    if isinstance(reply, NoReply) and not reply.sent:
        return outcome
    return attrs.evolve(outcome, kind=OutcomeKind.UNCERTAIN)


def _judge(reply: Reply | NoReply, now: dt.datetime) -> Outcome:
    if isinstance(reply, NoReply):
        network = reply.trouble is Trouble.NETWORK
        kind = OutcomeKind.UNREACHABLE if network else OutcomeKind.MISCONFIGURED
        return Outcome(kind, reply.reason)
    words = _words(reply.text)
    reason = f"{reply.status}: {words}" if words else f"{reply.status}"
    match reply.status:
        case 202 if not _is_foreign(reply.text):
            return Outcome(OutcomeKind.DELIVERED, words)
        case status if status < 300:  # noqa: PLR2004 -- HTTP's successes, and notices before them
            if status >= 200 and _json(reply.text).get("status") == "success":  # noqa: PLR2004
                return Outcome(OutcomeKind.DELIVERED, words)
            return Outcome(OutcomeKind.UNREACHABLE, f"not PagerDuty answered, {reason}")
        case status if 300 <= status < 400:  # noqa: PLR2004 -- the class of HTTP redirects
            return Outcome(
                OutcomeKind.MISCONFIGURED,
                f"{reply.redirect}, which PagerDuty never sends; check region and base_url",
            )
        case 429:
            return Outcome(
                OutcomeKind.THROTTLED, reason, retry_after=read_pause(reply.retry_after, now)
            )
        case 408 | 425:
            return Outcome(OutcomeKind.UNREACHABLE, reason)
        case 401 | 402 | 403 | 404 | 405 | 407 | 421:
            return Outcome(OutcomeKind.MISCONFIGURED, reason)
        case 400 if _blames_routing_key(reply.text):
            return Outcome(OutcomeKind.MISCONFIGURED, reason)
        case status if status >= 500:  # noqa: PLR2004 -- the class of HTTP server errors
            return Outcome(
                OutcomeKind.FAULTED, reason, retry_after=read_pause(reply.retry_after, now)
            )
    return Outcome(OutcomeKind.REJECTED, reason)


def is_key_unknown(text: str) -> bool:
    """Check whether PagerDuty rejects a well-formed key as unknown."""
    return bool(_KEY_UNKNOWN.search(text))


def _is_foreign(text: str) -> bool:
    """Check whether the body of a 202 is another program's; one that broke off shows nothing."""
    parsed = _json(text)
    return text.lstrip().startswith("<") or bool(parsed and parsed.get("status") != "success")


def _json(text: str) -> Mapping[str, object]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, Mapping) else {}


def _words(text: str) -> str:
    """Return PagerDuty's own words on one line: of JSON, its message and errors."""
    parsed = _json(text)
    message, errors = parsed.get("message"), parsed.get("errors")
    faults = [each for each in errors if isinstance(each, str)] if isinstance(errors, list) else []
    if isinstance(message, str) and message.strip():
        text = f"{message}: {'; '.join(faults)}" if faults else message
    words = " ".join(clean_text(text).split())
    return shorten(words, LONGEST_REASON)


def _blames_routing_key(text: str) -> bool:
    """Check whether a 400 is about the key alone, which is nothing the message could mend.

    The body is plain text for a key that PagerDuty does not know ("Invalid routing key") and
    JSON for one of the wrong form.
    """
    errors = _json(text).get("errors")
    told = errors if isinstance(errors, list) and errors else [text]
    return all(is_key_unknown(str(each)) or _KEY_MALFORMED in str(each).lower() for each in told)


def read_pause(header: str, now: dt.datetime) -> float | None:
    """Read a header that asks for a pause: seconds or a date; None where it says neither."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (email.utils.parsedate_to_datetime(header) - now).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_PAUSE) if math.isfinite(seconds) else None
