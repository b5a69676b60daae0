"""The responses to requests with alerts: accepted or rejected, none larger than a bound."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
from starlette.responses import JSONResponse, Response

from alerthost.http.partial import Line
from alerthost.ingest.json_alerts import ParsedAlert
from alerthost.store.errors import LostCommitError, StoreError, UnknownCommitError
from hostspec.alert import Alert
from hostspec.text import shorten

MOST_SHOWN: Final = 1000
"""Faults, and repairs, that one response shows; the others are counted."""

RETRY_AFTER: Final = 10
"""Seconds after which a client may post again (Retry-After)."""

_LONGEST_TEXT: Final = 200
"""Characters of a text from a client that are shown."""

_VARIABLE: Final = re.compile(r"""\d+|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""")
"""Numbers and quoted texts: they differ from request to request."""

Faults = Sequence[Mapping[str, str]]
"""Each with ``location``, ``path`` and ``reason``."""


@attrs.define(eq=False, str=False)
class Rejection(Exception):  # noqa: N818 -- a response, not an error of alerthost
    """A request is rejected.

    Attributes:
        status: of the response.
        cause: one word for the metric; there are about 20.
        reason: a sentence for the sender and the log.
        retry: the same request may be accepted later.
        faults: of the body, each with its location.
        headers: of the response.
        error: also logged as an ERROR; for problems that the operator has to fix.
    """

    status: int
    cause: str
    reason: str
    retry: bool = attrs.field(default=False, kw_only=True)
    faults: Faults = attrs.field(default=(), kw_only=True)
    headers: Mapping[str, str] | None = attrs.field(default=None, kw_only=True)
    error: str = attrs.field(default="", kw_only=True)

    def __str__(self) -> str:
        return f"{self.reason}: {first_fault(self.faults)}" if self.faults else self.reason


def first_fault(faults: Faults) -> str:
    """Return the first fault as text, and the number of the others."""
    others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{shortened(': '.join(filter(None, faults[0].values())))}{others}"


def kind_of(reason: str, faults: Faults) -> str:
    """Return a reason and its first fault without numbers and quoted texts."""
    fault = ": ".join(faults[0].values()) if faults else ""
    return shortened(_VARIABLE.sub("#", f"{reason}: {fault}"))


def shortened(text: str) -> str:
    """Return a client's text with a bounded length."""
    return shorten(text, _LONGEST_TEXT)


def accepted(ids: Sequence[str], alerts: Sequence[Alert], faults: Faults = ()) -> Response:
    """Build the response to a request with stored alerts, and the faults of the others."""
    left = MOST_SHOWN
    submissions = []
    for submission_id, alert in zip(ids, alerts, strict=True):
        repairs = alert.reported_repairs
        submissions.append(
            {
                "id": submission_id,
                "scope": shortened(alert.scope),
                "key": shortened(alert.key),
                "status": alert.status,
                "repairs": [
                    {"field": shortened(each.field), "reason": shortened(each.reason)}
                    for each in repairs[: max(0, left)]
                ],
            }
        )
        left -= len(repairs)
    content: dict[str, Any] = {"submissions": submissions}
    if left < 0:
        content["repairs_not_shown"] = -left
    return JSONResponse(content | _shown(faults), 202)


def accepted_in_part(number: int, unfit: Mapping[int, str], faulty: Sequence[Line]) -> Response:
    """Build the response to JSON lines; unlike others, it lists all that is not accepted.

    Args:
        number: of accepted alerts.
        unfit: why lines are to be posted again, by their number.
        faulty: lines that are not valid.
    """
    content: dict[str, Any] = {"accepted": number}
    if unfit:
        content["retry"] = {"lines": list(unfit), "reason": shortened(next(iter(unfit.values())))}
    if faulty:
        content["faulty"] = [
            {"line": each.number, "reason": first_fault(faults_of([each.parsed]))}
            for each in faulty
        ]
    headers = {"Retry-After": str(RETRY_AFTER)} if unfit else None
    return JSONResponse(content, 202, headers=headers)


def rejected(rejection: Rejection, status: int) -> Response:
    """Build the response to a rejected request."""
    headers = dict(rejection.headers or {})
    if rejection.retry:
        headers["Retry-After"] = str(RETRY_AFTER)
    content = {"error": rejection.reason} | _shown(rejection.faults)
    return JSONResponse(content, status, headers=headers)


def faults_of(parsed: Sequence[ParsedAlert]) -> Faults:
    """Return all faults of the alerts, each with its location in the body."""
    return [
        {
            "location": each.location,
            "path": shortened(fault.path),
            "reason": shortened(fault.reason),
        }
        for each in parsed
        for fault in each.faults
    ]


def _shown(faults: Faults) -> dict[str, Any]:
    if not faults:
        return {}
    content: dict[str, Any] = {"faults": faults[:MOST_SHOWN]}
    if len(faults) > MOST_SHOWN:
        content["faults_not_shown"] = len(faults) - MOST_SHOWN
    return content


@contextlib.contextmanager
def store_failures() -> Iterator[None]:
    """Turn an error of the store into the response to its request."""
    try:
        yield
    except StoreError as error:
        reason, log = _store_failure(error), f"the store fails: {error}"
        raise Rejection(503, "store_fails", reason, retry=True, error=log) from error


def _store_failure(error: StoreError) -> str:
    """Return whether alerts were accepted although the store failed."""
    if isinstance(error, LostCommitError):
        return "the alert may be lost: the store was deleted or replaced; post it again"
    if isinstance(error, UnknownCommitError):
        return (
            "the connection to the store was lost, and it is not known whether the alert was "
            "accepted; post it again, with the same Idempotency-Key if it had one"
        )
    return "nothing was accepted: the store cannot be written"
