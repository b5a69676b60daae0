"""Reads the body of a request: no other type, no more bytes and no longer than allowed."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
from collections.abc import Sequence
from email.message import Message
from typing import Final

from starlette.requests import Request

from alerthost.config.http_table import HttpTable
from alerthost.http.refusals import Refusal, shortened
from alerthost.http.worker_threads import Room

BODY_WITHIN: Final = 30.0
"""Seconds in which the body of a request has to be here."""

MOST_VALUES: Final = 1_000_000
"""Values that a body may have, about; a group of 5,000 alerts has some 100,000."""

JSON: Final = "application/json"
JSON_LINES: Final = (
    "application/jsonl",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonlines",
    "application/x-jsonlines",
)

_UTF_8: Final = frozenset({"utf-8", "ascii"})
_CODECS: Final = _UTF_8 | {
    "cp1252",
    "iso8859-1",
    "iso8859-15",
    "utf-16",
    "utf-16-be",
    "utf-16-le",
    "utf-32",
}
"""Python's codecs of the charsets that a Content-Type may declare, whatever alias it uses."""


def content_type(request: Request, known: Sequence[str]) -> tuple[str, str]:
    """Return the type of a body, and the codec of its declared charset; empty for UTF-8.

    A page in a browser may post anything but these to this machine without being asked.

    Raises:
        Refusal: the type, charset or content encoding is not supported.
    """
    header = Message()
    header["Content-Type"] = request.headers.get("content-type", "")
    kind = header.get_content_type()
    if kind not in known:
        reason = f"declare the type of the body: Content-Type: {' or '.join(known[:3])}"
        raise Refusal(415, "content_type", reason)
    if request.headers.get("content-encoding", "identity").casefold() != "identity":
        reason = "send it as it is, without a Content-Encoding"
        raise Refusal(415, "content_encoding", reason)
    charset = header.get_content_charset("utf-8")
    with contextlib.suppress(LookupError):
        codec = codecs.lookup(charset).name
        if codec in _CODECS:
            return kind, "" if codec in _UTF_8 else codec
    raise Refusal(415, "charset", f"the charset {shortened(charset)} is unknown; send UTF-8")


async def read(request: Request, table: HttpTable, codec: str, room: Room) -> bytes:
    """Read the body as UTF-8.

    Args:
        request: not read yet.
        table: says how many bytes the body may have.
        codec: of the body; empty for UTF-8.
        room: in memory, for the body.

    Raises:
        Refusal: it is too large, too slow, or not in its charset.
        ClientDisconnect: the client left.
    """
    largest = table.largest_body
    reason = f"the body has more than {largest} bytes (http.largest_body)"
    too_large = Refusal(413, "too_large", reason)
    length = int(request.headers.get("content-length", "0"))  # h11 takes digits only
    if length > largest:
        raise too_large
    room.grow(length)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for chunk in request.stream():
                body += chunk
                if len(body) > largest:
                    raise too_large
                room.grow(len(body))
    except TimeoutError:
        reason = f"the body was not here after {BODY_WITHIN:.0f} s"
        raise Refusal(408, "body_timeout", reason, again=True) from None
    return bytes(body) if not codec else _utf_8(body, codec)


def check_values(body: bytes) -> None:
    """Check that a body has no more values than are parsed in a moment.

    A value takes up to 200 bytes of memory, and no other thread runs while it is parsed. The count
    is too high where texts have commas and brackets, by far less than the limit leaves room for.

    Raises:
        Refusal: it has more.
    """
    if sum(body.count(mark) for mark in b",[{") > MOST_VALUES:
        reason = f"the body has more than {MOST_VALUES:,} values; post fewer at once"
        raise Refusal(413, "too_many_values", reason)


def _utf_8(body: bytearray, codec: str) -> bytes:
    try:
        return body.decode(codec).encode()
    except UnicodeError:
        reason = f"the body is not in the charset that its Content-Type declares ({codec})"
        raise Refusal(400, "charset", reason) from None
