"""What PagerDuty answers: status, headers and body of each kind of response.

Sources: PagerDuty's OpenAPI schema of the Events API v2 (the JSON forms and "Unrecognized object")
and bodies that users have published (the plain text of an unknown key). PagerDuty documents
neither the body of a 429 nor the answer to a request that is not well-formed HTTP for this API
(size, media type, method); those are ours.
"""

from __future__ import annotations

import http
import json
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

JSON: Final = "application/json; charset=utf-8"
TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"


@attrs.frozen
class Answer:
    """One HTTP response.

    Attributes:
        status: The HTTP status code.
        body: The bytes of the body.
        content_type: The media type of the body.
        headers: Further headers, as pairs of name and value.
    """

    status: int
    body: bytes = b""
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()

    def encode(self, *, close: bool = False, with_body: bool = True) -> bytes:
        """Render the response as HTTP/1.1.

        Args:
            close: Say that the connection closes after this response.
            with_body: False leaves the body out, as for ``HEAD``; its length is still told.
        """
        headers = (
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            *self.headers,
            *((("Connection", "close"),) if close else ()),
        )
        head = "".join(
            (
                f"HTTP/1.1 {self.status} {_phrase(self.status)}\r\n",
                *(f"{name}: {value}\r\n" for name, value in headers),
                "\r\n",
            )
        )
        return head.encode("latin-1") + (self.body if with_body else b"")


def alert_accepted(dedup_key: str) -> Answer:
    """Answer an alert event that was taken; that an incident exists is not implied."""
    return _json(202, status="success", message="Event processed", dedup_key=dedup_key)


def change_accepted() -> Answer:
    """Answer a change event that was taken."""
    return _json(202, status="success", message="Change event processed")


def invalid(faults: Sequence[str], *, status: int = 400) -> Answer:
    """Answer an event that breaks the rules, naming every fault."""
    return _json(
        status, status="invalid event", message="Event object is invalid", errors=list(faults)
    )


def unreadable() -> Answer:
    """Answer a body that is no JSON object."""
    return _json(
        400,
        status="Unrecognized object",
        message="Event object format is unrecognized",
        errors=["JSON parse error"],
    )


def unknown_key() -> Answer:
    """Answer a well-formed integration key that no service has: plain text, no JSON."""
    return Answer(400, b"Invalid routing key")


def throttled(retry_after: str | None = None) -> Answer:
    """Answer an event beyond the rate limit.

    Args:
        retry_after: The value of a ``Retry-After`` header; PagerDuty documents none.
    """
    answer = _json(
        429,
        status="throttle exceeded",
        message="Requests for this service are arriving too quickly.  Please retry later.",
    )
    if retry_after is None:
        return answer
    return attrs.evolve(answer, headers=(("Retry-After", retry_after),))


def rest(status: int, **members: object) -> Answer:
    """Answer a call of the REST API: the members of one JSON object."""
    return _json(status, **members)


def rest_error(status: int, code: int, message: str, errors: Sequence[str] = ()) -> Answer:
    """Answer a call of the REST API that fails, with PagerDuty's own error code."""
    return _json(status, error={"message": message, "code": code, "errors": list(errors)})


def _json(code: int, /, **members: object) -> Answer:
    return Answer(code, json.dumps(members, separators=(",", ":")).encode(), JSON)


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
