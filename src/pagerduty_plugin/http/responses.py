"""PagerDuty's reply to an event as an outcome (guide "Events API v2 Overview"). Pure."""

from __future__ import annotations

import base64
import datetime as dt
import email.utils
import enum
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

import attrs

from hostspec import Outcome, OutcomeKind
from hostspec.text import clean_text, shorten
from pagerduty_plugin.constants import STARS

LONGEST_REASON: Final = 2000
"""Characters of a reply that are shown; an error page of a proxy may be long."""

LONGEST_TARGET: Final = 200
"""Characters of a redirect's target that are shown."""

LONGEST_PAUSE: Final = 300.0
"""Seconds of a Retry-After that are obeyed. PagerDuty documents no such header, counts over the
last 60 seconds, and advises to back off "a few minutes"."""

SHORTEST_SECRET_PART: Final = 8
"""Characters of a part of a secret that is masked; a shorter one may be any word."""

_KEY_UNKNOWN: Final = re.compile(r"invalid ?routing ?key", re.IGNORECASE)
"""PagerDuty's plain-text answer to an unknown key."""

_KEY_MALFORMED: Final = "'routing_key'"
"""In PagerDuty's JSON answer to a key of the wrong form."""


@attrs.frozen
class Reply:
    """An HTTP reply.

    Attributes:
        status: the code.
        text: the body, as far as it was read.
        retry_after: the header, or an empty text.
        location: the header, or an empty text.
    """

    status: int
    text: str
    retry_after: str = ""
    location: str = ""

    @property
    def redirect(self) -> str:
        """The status and target of a redirect, without user, query and fragment (maybe secret)."""
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


class Failure(enum.Enum):
    """Why there is no reply."""

    NETWORK = enum.auto()
    """No connection, a broken one, or a timeout."""
    CONFIGURATION = enum.auto()
    """The operator must change a setting first."""


@attrs.frozen
class NoReply:
    """No HTTP reply was received.

    Attributes:
        failure: its kind.
        reason: in words, without secrets.
        sent: whether the event may have been sent before.
    """

    failure: Failure
    reason: str
    sent: bool = True


def classify(reply: Reply | NoReply, now: dt.datetime, *, idempotent: bool = True) -> Outcome:
    """Return the outcome of an attempt.

    Args:
        reply: the reply, or the reason for its absence.
        now: the time, for a Retry-After with a date.
        idempotent: whether sending the event twice is harmless. If not, an event that may have
            arrived is *uncertain*.
    """
    outcome = _classify(reply, now)
    if idempotent or not outcome.kind.may_have_arrived or outcome.delivered:
        return outcome
    if isinstance(reply, NoReply) and not reply.sent:
        return outcome
    return attrs.evolve(outcome, kind=OutcomeKind.UNCERTAIN)


def _classify(reply: Reply | NoReply, now: dt.datetime) -> Outcome:
    if isinstance(reply, NoReply):
        network = reply.failure is Failure.NETWORK
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
            return Outcome(OutcomeKind.UNREACHABLE, f"the reply is not PagerDuty's: {reason}")
        case status if 300 <= status < 400:  # noqa: PLR2004 -- the class of HTTP redirects
            return Outcome(
                OutcomeKind.MISCONFIGURED,
                f"{reply.redirect}, which PagerDuty never sends; check region and base_url",
            )
        case 429:
            return Outcome(
                OutcomeKind.THROTTLED, reason, retry_after=read_retry_after(reply.retry_after, now)
            )
        case 408 | 425:
            return Outcome(OutcomeKind.UNREACHABLE, reason)
        case 401 | 402 | 403 | 404 | 405 | 407 | 421:
            return Outcome(OutcomeKind.MISCONFIGURED, reason)
        case 400 if _blames_routing_key(reply.text):
            return Outcome(OutcomeKind.MISCONFIGURED, reason)
        case status if status >= 500:  # noqa: PLR2004 -- the class of HTTP server errors
            return Outcome(
                OutcomeKind.FAULTED, reason, retry_after=read_retry_after(reply.retry_after, now)
            )
    return Outcome(OutcomeKind.REJECTED, reason)


def is_key_unknown(text: str) -> bool:
    """Check whether PagerDuty rejected a well-formed key as unknown."""
    return bool(_KEY_UNKNOWN.search(text))


def _is_foreign(text: str) -> bool:
    """Check whether the body of a 202 is not PagerDuty's; a truncated one is not evidence."""
    parsed = _json(text)
    return text.lstrip().startswith("<") or bool(parsed and parsed.get("status") != "success")


def _json(text: str) -> Mapping[str, object]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, Mapping) else {}


def _words(text: str) -> str:
    """Return PagerDuty's message and errors on one line; the whole text if it is not JSON."""
    parsed = _json(text)
    message, errors = parsed.get("message"), parsed.get("errors")
    faults = [each for each in errors if isinstance(each, str)] if isinstance(errors, list) else []
    if isinstance(message, str) and message.strip():
        text = f"{message}: {'; '.join(faults)}" if faults else message
    words = " ".join(clean_text(text).split())
    return shorten(words, LONGEST_REASON)


def _blames_routing_key(text: str) -> bool:
    """Check whether a 400 is about the key alone, so that the event itself is fine.

    The body is plain text for an unknown key ("Invalid routing key"), and JSON for one of the
    wrong form.
    """
    errors = _json(text).get("errors")
    listed = errors if isinstance(errors, list) and errors else [text]
    return all(is_key_unknown(str(each)) or _KEY_MALFORMED in str(each).lower() for each in listed)


def read_retry_after(header: str, now: dt.datetime) -> float | None:
    """Return the seconds of a Retry-After, which is a number or a date; None if it is neither."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (email.utils.parsedate_to_datetime(header) - now).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_PAUSE) if math.isfinite(seconds) else None


def mask_reply(reply: Reply | NoReply, secrets: Sequence[str]) -> Reply | NoReply:
    """Return a reply with every part of the secrets masked."""
    if isinstance(reply, NoReply):
        return attrs.evolve(reply, reason=mask(reply.reason, secrets))
    text, location = mask(reply.text, secrets), mask(reply.location, secrets)
    return attrs.evolve(reply, text=text, location=location)


def mask(text: str, secrets: Iterable[str]) -> str:
    """Mask every part of a secret of `SHORTEST_SECRET_PART` or more characters, in any case.

    A shorter secret is masked as a whole. Takes time linear in the text.
    """
    for secret in filter(None, secrets):
        length = min(SHORTEST_SECRET_PART, len(secret))
        parts = {secret[at : at + length] for at in range(len(secret) - length + 1)}
        # a lookahead, so that parts may overlap
        pattern = f"(?={'|'.join(map(re.escape, sorted(parts)))})"
        pieces, end = [], 0
        for found in re.finditer(pattern, text, re.IGNORECASE):
            if found.start() >= end:
                pieces += [text[end : found.start()], STARS]
            end = found.start() + length
        text = "".join([*pieces, text[end:]])
    return text


def proxy_secrets(proxy: str) -> tuple[str, ...]:
    """Return the forms in which the password of a proxy's URL is sent; none without a password."""
    credentials = urlsplit(proxy).netloc.rpartition("@")[0]
    user, _, password = credentials.partition(":")
    if not password:
        return ()
    sent = f"{unquote(user)}:{unquote(password)}".encode("latin-1")
    return (password, unquote(password), base64.b64encode(sent).decode())
