"""The log of raw requests: what reached the fake, whether or not it was any good."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import datetime as dt


@attrs.frozen(kw_only=True)
class Request:
    """One request as it arrived.

    Its representation leaves out headers and body, which carry the integration key.

    Attributes:
        number: Counts up from 1 in the order of arrival.
        connection: The number of the TCP connection it came over, counting up from 1.
        method: The HTTP method.
        path: The path as sent, with its query.
        headers: Names and values in the order sent.
        body: The bytes of the body; empty if they were not read.
        arrived_at: When its headers had arrived.
        status: The status answered; None until then, and for good if none was.
        misbehaviour: The name of the misbehaviour it met, if any.
    """

    number: int
    connection: int
    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    arrived_at: dt.datetime
    status: int | None = None
    misbehaviour: str | None = None

    def header(self, name: str) -> str | None:
        """Return the first value of a header, whatever the case of its name."""
        for sent, value in self.headers:
            if sent.lower() == name.lower():
                return value
        return None

    def json(self) -> Any:
        """Read the body as JSON.

        Raises:
            ValueError: the body is no JSON.
        """
        return json.loads(self.body)
