"""Build HTTP responses: status, headers and body of each kind that PagerDuty sends.

Sources: PagerDuty's OpenAPI schema of the Events API v2 (the JSON forms and "Unrecognized object")
and bodies that users have published (the plain text of an unknown key). PagerDuty documents
neither the body of a 429 nor the response to a request with a wrong size, media type or method;
those are the fake's own.
"""

from __future__ import annotations

import html
import http
import json
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

JSON: Final = "application/json; charset=utf-8"
TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"
HTML_HEADERS: Final = (
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
    ("Cache-Control", "no-store"),
)

# Unicode's pictures of control characters; those of C1 have none and share one sign.
_PICTURES: Final = (
    {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
    | {0x7F: 0x2421}
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
)


@attrs.frozen
class Response:
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
            close: Announce that the connection closes after this response.
            with_body: False omits the body, but not its length, as for ``HEAD``.
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


def alert_accepted(dedup_key: str) -> Response:
    """Return the response to an accepted alert event, whether or not it matched an incident."""
    return _json(202, status="success", message="Event processed", dedup_key=dedup_key)


def change_accepted() -> Response:
    """Return the response to an accepted change event."""
    return _json(202, status="success", message="Change event processed")


def invalid(faults: Sequence[str], *, status: int = 400) -> Response:
    """Return the response to an invalid event, with every fault."""
    return _json(
        status, status="invalid event", message="Event object is invalid", errors=list(faults)
    )


def unreadable() -> Response:
    """Return the response to a body that is not a JSON object."""
    return _json(
        400,
        status="Unrecognized object",
        message="Event object format is unrecognized",
        errors=["JSON parse error"],
    )


def unknown_key() -> Response:
    """Return the response to an unknown integration key: plain text, not JSON."""
    return Response(400, b"Invalid routing key")


def throttled(retry_after: str | None = None) -> Response:
    """Return the response to an event beyond the rate limit.

    Args:
        retry_after: The value of a ``Retry-After`` header; PagerDuty documents none.
    """
    response = _json(
        429,
        status="throttle exceeded",
        message="Requests for this service are arriving too quickly.  Please retry later.",
    )
    if retry_after is None:
        return response
    return attrs.evolve(response, headers=(("Retry-After", retry_after),))


def rest(status: int, **members: object) -> Response:
    """Return a response of the REST API: one JSON object with these members."""
    return _json(status, **members)


def rest_error(status: int, code: int, message: str, errors: Sequence[str] = ()) -> Response:
    """Return a REST API error with PagerDuty's own error code."""
    return _json(status, error={"message": message, "code": code, "errors": list(errors)})


def _json(code: int, /, **members: object) -> Response:
    return Response(code, json.dumps(members, separators=(",", ":")).encode(), JSON)


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def escape(text: str) -> str:
    """Render a text as content or attribute value of HTML, with visible control characters."""
    return html.escape(text.translate(_PICTURES))


def page(title: str, style: str, content: str, *, status: int = 200, head: str = "") -> Response:
    """Return an HTML page with a heading; ``content`` and ``head`` are HTML."""
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{head}'
        f"<title>{escape(title)} · fake PagerDuty</title><style>{style}</style></head><body>"
        f"<h1>{escape(title)}</h1>\n{content}\n</body></html>\n"
    )
    return Response(status, text.encode(), HTML, HTML_HEADERS)
