"""Read the body of a request, with limits on its type, its size and the time that it takes."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
from collections.abc import Sequence
from email.message import Message
from typing import Final

from starlette.requests import Request

from alerthost.config.http_table import HttpTable
from alerthost.http.responses import Rejection, shortened
from alerthost.http.worker_threads import BodyMemory

BODY_WITHIN: Final = 30.0
"""Seconds in which the whole body has to arrive."""

MOST_VALUES: Final = 1_000_000
"""Approximate limit of values in a body; a group of 5,000 alerts has some 100,000."""

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
"""Python's names of the supported charsets."""


def content_type(request: Request, supported: Sequence[str]) -> tuple[str, str]:
    """Return the type of a body, and the codec of its declared charset; empty for UTF-8.

    Browsers let a web page post other types to this machine without a preflight request.

    Raises:
        Rejection: the type, charset or content encoding is not supported.
    """
    header = Message()
    header["Content-Type"] = request.headers.get("content-type", "")
    kind = header.get_content_type()
    if kind not in supported:
        reason = f"missing or unsupported Content-Type; use {' or '.join(supported[:3])}"
        raise Rejection(415, "content_type", reason)
    if request.headers.get("content-encoding", "identity").casefold() != "identity":
        reason = "unsupported Content-Encoding; send the body uncompressed"
        raise Rejection(415, "content_encoding", reason)
    charset = header.get_content_charset("utf-8")
    with contextlib.suppress(LookupError):
        codec = codecs.lookup(charset).name
        if codec in _CODECS:
            return kind, "" if codec in _UTF_8 else codec
    raise Rejection(415, "charset", f"unsupported charset {shortened(charset)}; use UTF-8")


async def read(request: Request, table: HttpTable, codec: str, memory: BodyMemory) -> bytes:
    """Read the body of a request, and return it as UTF-8.

    Args:
        request: not read yet.
        table: has the limit of bytes.
        codec: of the body; empty for UTF-8.
        memory: reserved for the body.

    Raises:
        Rejection: it is too large, too slow, or not valid in its charset.
        ClientDisconnect: the client closed the connection.
    """
    largest = table.largest_body
    reason = f"the body has more than {largest} bytes (http.largest_body)"
    too_large = Rejection(413, "too_large", reason)
    length = int(request.headers.get("content-length", "0"))  # h11 has checked the digits
    if length > largest:
        raise too_large
    memory.reserve(length)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for chunk in request.stream():
                body += chunk
                if len(body) > largest:
                    raise too_large
                memory.reserve(len(body))
    except TimeoutError:
        reason = f"the body did not arrive within {BODY_WITHIN:.0f} s"
        raise Rejection(408, "body_timeout", reason, retry=True) from None
    if not codec:
        return bytes(body)
    try:
        return body.decode(codec).encode()
    except UnicodeError:
        reason = f"the body is not valid in the charset of its Content-Type ({codec})"
        raise Rejection(400, "charset", reason) from None


def check_values(body: bytes) -> None:
    """Check that a body has no more values than are parsed in a moment.

    A value takes up to 200 bytes of memory, and no other thread runs while it is parsed. Commas
    and brackets within texts are counted too; the limit leaves room for them.

    Raises:
        Rejection: it has more.
    """
    if sum(body.count(mark) for mark in b",[{") > MOST_VALUES:
        reason = f"the body has more than {MOST_VALUES:,} values; send fewer alerts per request"
        raise Rejection(413, "too_many_values", reason)
