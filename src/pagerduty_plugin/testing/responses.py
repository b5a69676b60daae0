"""Build HTTP responses: status, headers and body of each kind that PagerDuty sends.

Sources: PagerDuty's OpenAPI schema of the Events API v2 (the JSON forms and "Unrecognized object")
and bodies that users have published (the plain text of an unknown key). PagerDuty documents
neither the body of a 429 nor the response to a request with a wrong size, media type or method;
those are the fake's own.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from typing import Final

import attrs

JSON: Final = "application/json; charset=utf-8"
TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"


@attrs.frozen
class Response:
    """One HTTP response.

    Attributes:
        headers: Further headers, as pairs of name and value.
    """

    status: int
    body: bytes = b""
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()

    def encode(self, *, close: bool = False, with_body: bool = True) -> bytes:
        """Render the response as HTTP/1.1.

        Args:
            close: Announce that the connection closes after this response.
            with_body: False omits the body, but not its length, as for ``HEAD``.
        """
        headers = (
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            *self.headers,
            *((("Connection", "close"),) if close else ()),
        )
        phrase = http.client.responses.get(self.status, "Unknown")
        lines = (
            f"HTTP/1.1 {self.status} {phrase}",
            *(f"{name}: {value}" for name, value in headers),
        )
        head = "\r\n".join((*lines, "\r\n"))
        return head.encode("latin-1") + (self.body if with_body else b"")


def accepted(message: str, **members: str) -> Response:
    """Return the response to an accepted event, whether or not it matched an incident."""
    return json_response(202, status="success", message=message, **members)


def invalid(faults: Sequence[str], *, status: int = 400) -> Response:
    """Return the response to an invalid event, with every fault."""
    return json_response(
        status, status="invalid event", message="Event object is invalid", errors=list(faults)
    )


def throttled(retry_after: str | None = None) -> Response:
    """Return the response to an event beyond the rate limit.

    Args:
        retry_after: The value of a ``Retry-After`` header; PagerDuty documents none.
    """
    message = "Requests for this service are arriving too quickly.  Please retry later."
    response = json_response(429, status="throttle exceeded", message=message)
    headers = () if retry_after is None else (("Retry-After", retry_after),)
    return attrs.evolve(response, headers=headers)


def rest_error(status: int, code: int, message: str, errors: Sequence[str] = ()) -> Response:
    """Return a REST API error with PagerDuty's own error code."""
    return json_response(status, error={"message": message, "code": code, "errors": list(errors)})


def json_response(code: int, /, **members: object) -> Response:
    """Return a response with one JSON object."""
    return Response(code, json.dumps(members, separators=(",", ":")).encode(), JSON)


UNKNOWN_KEY: Final = Response(400, b"Invalid routing key")
"""The response to an unknown integration key: plain text, not JSON."""

UNREADABLE: Final = json_response(
    400,
    status="Unrecognized object",
    message="Event object format is unrecognized",
    errors=["JSON parse error"],
)
"""The response to a body that is not a JSON object."""
