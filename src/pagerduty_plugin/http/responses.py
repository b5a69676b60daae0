"""The outcome of an attempt: from PagerDuty's reply, or from the reason of its absence.

Source: PagerDuty's guide "Events API v2 Overview".
"""

from __future__ import annotations

import base64
import datetime as dt
import email.utils
import http.client
import json
import math
import re
import ssl
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import attrs

from hostspec import Outcome, OutcomeKind
from hostspec.text import clean_text, shorten
from pagerduty_plugin.constants import STARS
from pagerduty_plugin.http import transport
from pagerduty_plugin.http.network import NetworkSettingError
from pagerduty_plugin.settings import NetworkSettings

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


_TUNNEL: Final = re.compile(r"Tunnel connection failed: (?P<words>(?P<kind>\d)\d\d.{,100}).*")
"""The error of `http.client` when a proxy refuses to connect."""

_CERTIFICATE_REJECTED: Final = re.compile("ALERT.*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE)")
"""TLS alerts of a server that rejects a client certificate, or misses one."""

_NOT_HTTP: Final = "the reply is not HTTP"


@attrs.frozen
class Reply:
    """An HTTP reply: its status, its body as far as it was read, and two headers."""

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
        target = shorten(one_line(shown), LONGEST_TARGET)
        return f"{self.status}, a redirect to {target}" if target else f"{self.status}, a redirect"


@attrs.frozen
class NoReply:
    """No HTTP reply was received, though the event may have been sent."""

    kind: OutcomeKind
    reason: str
    sent: bool = True


def one_line(text: str) -> str:
    """Return a text from outside on one line."""
    return " ".join(clean_text(text).split())


def classify(reply: Reply | NoReply, now: dt.datetime, *, idempotent: bool = True) -> Outcome:
    """Return the outcome of an attempt.

    If sending the event twice is not harmless, an event that may have arrived is *uncertain*. The
    time is needed for a Retry-After with a date.
    """
    outcome = _classify(reply, now)
    if idempotent or not outcome.kind.may_have_arrived or outcome.delivered:
        return outcome
    if isinstance(reply, NoReply) and not reply.sent:
        return outcome
    return attrs.evolve(outcome, kind=OutcomeKind.UNCERTAIN)


def _classify(reply: Reply | NoReply, now: dt.datetime) -> Outcome:
    if isinstance(reply, NoReply):
        return Outcome(reply.kind, reply.reason)
    words = _words(reply.text)
    reason = f"{reply.status}: {words}" if words else f"{reply.status}"
    pause = read_retry_after(reply.retry_after, now)
    match reply.status:
        case 202 if not _is_foreign(reply.text):
            return Outcome(OutcomeKind.DELIVERED, words)
        case status if 200 <= status < 300 and _is_accepted(reply.text):  # noqa: PLR2004
            return Outcome(OutcomeKind.DELIVERED, words)
        case status if status < 300:  # noqa: PLR2004 -- HTTP's successes, and notices before them
            return Outcome(OutcomeKind.UNREACHABLE, f"the reply is not PagerDuty's: {reason}")
        case status if status < 400:  # noqa: PLR2004 -- the class of HTTP redirects
            reason = f"{reply.redirect}, which PagerDuty never sends; check region and base_url"
            return Outcome(OutcomeKind.MISCONFIGURED, reason)
        case 429:
            return Outcome(OutcomeKind.THROTTLED, reason, retry_after=pause)
        case 408 | 425:
            return Outcome(OutcomeKind.UNREACHABLE, reason)
        case 401 | 402 | 403 | 404 | 405 | 407 | 421:
            return Outcome(OutcomeKind.MISCONFIGURED, reason)
        case 400 if _blames_routing_key(reply.text):
            return Outcome(OutcomeKind.MISCONFIGURED, reason)
        case status if status >= 500:  # noqa: PLR2004 -- the class of HTTP server errors
            return Outcome(OutcomeKind.FAULTED, reason, retry_after=pause)
    return Outcome(OutcomeKind.REJECTED, reason)


def is_key_unknown(text: str) -> bool:
    """Check whether PagerDuty rejected a well-formed key as unknown."""
    return bool(_KEY_UNKNOWN.search(text))


def _is_accepted(text: str) -> bool:
    return (parse_object(text) or {}).get("status") == "success"


def _is_foreign(text: str) -> bool:
    """Check whether the body of a 202 is not PagerDuty's; a truncated one is not evidence."""
    return text.lstrip().startswith("<") or bool(parse_object(text) and not _is_accepted(text))


def parse_object(text: str) -> Mapping[str, Any] | None:
    """Parse a JSON object, or return None: an error would quote the text, and so secrets."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, Mapping) else None


def text_member(members: Mapping[str, Any], name: str) -> str:
    """Return a member as text on one line; empty if it is missing or not a text."""
    value = members.get(name)
    return one_line(value) if isinstance(value, str) else ""


def _words(text: str) -> str:
    """Return PagerDuty's message and errors on one line; the whole text if it is not JSON."""
    parsed = parse_object(text) or {}
    message, errors = parsed.get("message"), parsed.get("errors")
    faults = [each for each in errors if isinstance(each, str)] if isinstance(errors, list) else []
    if isinstance(message, str) and message.strip():
        text = f"{message}: {'; '.join(faults)}" if faults else message
    return shorten(one_line(text), LONGEST_REASON)


def _blames_routing_key(text: str) -> bool:
    """Check whether a 400 is about the key alone, so that the event itself is fine.

    The body is plain text for an unknown key ("Invalid routing key"), and JSON for one of the
    wrong form.
    """
    errors = (parse_object(text) or {}).get("errors")
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


def no_reply(error: Exception, handled: BaseException | None, network: NetworkSettings) -> NoReply:
    """Return why there is no reply, in words for the operator.

    Neither the text of an exception, which may contain an address, nor its class is shown.

    The exception that the caller handled before the attempt is left out: Python chains it to every
    exception raised meanwhile.
    """
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    chain = tuple(causes(error, handled))
    kind, reason = _failure(error, chain, network)
    unsent = any(isinstance(each, (ConnectTimeoutError, NewConnectionError)) for each in chain)
    return NoReply(kind, reason, sent=not unsent)


def _failure(
    error: Exception, chain: tuple[BaseException, ...], network: NetworkSettings
) -> tuple[OutcomeKind, str]:
    from requests import exceptions

    unreachable, misconfigured = OutcomeKind.UNREACHABLE, OutcomeKind.MISCONFIGURED
    if isinstance(error, NetworkSettingError):
        return misconfigured, str(error)
    if transport.is_over():
        return unreachable, f"no reply within {network.timeout:g} s"
    cause = _reason(chain)
    not_connected = f"no connection within {network.connect_timeout:g} s"
    if any(isinstance(each, TimeoutError) and not each.strerror for each in chain):
        cause = not_connected
    kind = misconfigured if any(map(_is_rejected_certificate, chain)) else unreachable
    match error:
        case exceptions.ProxyError():
            answer = next(filter(None, (_TUNNEL.fullmatch(str(each)) for each in chain)), None)
            if answer is None:
                return kind, f"no proxy: {cause}"
            kind = misconfigured if answer["kind"] == "4" else unreachable
            return kind, f"the proxy answered {answer['words'].strip()}"
        case exceptions.SSLError():
            return kind, f"TLS failed: {cause}"
        case exceptions.ConnectTimeout():
            return unreachable, not_connected
        case exceptions.ConnectionError():
            return unreachable, cause if cause == _NOT_HTTP else f"no connection: {cause}"
        case ValueError():
            return misconfigured, "cannot be sent: the address is not a valid URL; check base_url"
    return misconfigured, f"cannot be sent: {cause}"


def causes(error: BaseException, handled: BaseException | None = None) -> Iterator[BaseException]:
    """Yield an exception and all its causes, except the one that the caller handled before."""
    seen = {id(handled)}
    queue: list[object] = [error]
    while queue:
        each = queue.pop(0)
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            queue += [getattr(each, "reason", None), *each.args, each.__cause__, each.__context__]


def _is_rejected_certificate(error: BaseException) -> bool:
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    alert = error.reason if isinstance(error, ssl.SSLError) else None
    return bool(_CERTIFICATE_REJECTED.search(alert or ""))


def _reason(chain: tuple[BaseException, ...]) -> str:
    for each in chain:
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message or "the certificate is not trusted"
    for each in chain:
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
    for each in chain:
        if isinstance(each, ConnectionError):
            return "the other side closed the connection without a reply"
        if isinstance(each, http.client.HTTPException):
            return _NOT_HTTP
    *_, (frame, line) = traceback.walk_tb(chain[0].__traceback__)
    return f"unexpected error at {PurePath(frame.f_code.co_filename).name}:{line}"
