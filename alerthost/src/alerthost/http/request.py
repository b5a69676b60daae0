"""Read a request: its token, its type, and its body with limits on size, time and memory.

Python threads share one interpreter lock, which a parser holds while it parses. So large bodies
are parsed one at a time, and the number of values in a body is bounded.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import codecs
import contextlib
import hmac
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from typing import Final, Self, TypeVar

from starlette.requests import Request

from alerthost.config.tables import Address, HttpTable
from alerthost.http.responses import Rejection, shortened
from hostspec.secret import Secret, SecretUnavailableError

BODY_WITHIN: Final = 30.0
"""Seconds in which the whole body has to arrive."""

MOST_VALUES: Final = 1_000_000
"""Approximate limit of values in a body; a group of 5,000 alerts has some 100,000."""

LARGE: Final = 256 * 1024
"""Bytes of a body beyond which it is parsed one at a time."""

JSON: Final = "application/json"
JSON_LINES: Final = (
    "application/jsonl",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonlines",
    "application/x-jsonlines",
)

_THREADS: Final = 32
_CHECKS: Final = 4
_LARGE_AT_ONCE: Final = 4
"""Large bodies in memory at a time."""

_CHALLENGE: Final = 'Bearer, Basic realm="alerthost"'
"""Some senders show a password only after a challenge."""

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

_T = TypeVar("_T")


class WorkerThreads:
    """Runs checks, small requests and large requests, each in threads of their own."""

    def __init__(self) -> None:
        self._checks = ThreadPoolExecutor(_CHECKS, "hostspec check")
        self._small = ThreadPoolExecutor(_THREADS, "hostspec request")
        self._large = ThreadPoolExecutor(1, "hostspec large request")
        self.large_bodies = threading.BoundedSemaphore(_LARGE_AT_ONCE)

    async def check(self, function: Callable[[], _T]) -> _T:
        """Run a check of the host's state; requests do not delay it."""
        return await asyncio.get_running_loop().run_in_executor(self._checks, function)

    async def work(self, size: int, function: Callable[[], _T]) -> _T:
        """Run the work on a request, by the size of its body in bytes."""
        threads = self._large if size > LARGE else self._small
        return await asyncio.get_running_loop().run_in_executor(threads, function)

    def close(self) -> None:
        """End the threads when they are idle."""
        for executor in (self._checks, self._small, self._large):
            executor.shutdown(wait=False)


@contextlib.asynccontextmanager
async def received(
    request: Request,
    content_types: Sequence[str],
    threads: WorkerThreads,
    largest: int,
    setting: str = "http.largest_body",
) -> AsyncIterator[tuple[bytes, str]]:
    """Yield the body of a request in UTF-8, with its content type.

    Args:
        request: whose body is read.
        content_types: that are accepted.
        threads: limit the large bodies in memory.
        largest: bytes of a body, at most.
        setting: what sets that limit, for the sender.

    Raises:
        Rejection: its type is not one of `content_types`, or its body is too large, too slow, or
            not valid in its charset.
        ClientDisconnect: the client closed the connection.
    """
    content_type, codec = _content_type(request, content_types)
    with _BodyMemory(threads.large_bodies) as memory:
        yield _decoded(await _read_body(request, largest, setting, memory), codec), content_type


class _BodyMemory:
    """The memory for one body, released at the end of a block; a large body needs a slot."""

    def __init__(self, slots: threading.BoundedSemaphore) -> None:
        self._slots = slots
        self._has_slot = False

    def reserve(self, size: int) -> None:
        if size > LARGE and not self._has_slot:
            self._has_slot = self._slots.acquire(blocking=False)
            if not self._has_slot:
                raise Rejection(429, "busy", "too many large requests at once; retry", retry=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._has_slot:
            self._slots.release()


def authenticate(request: Request, table: HttpTable) -> None:
    """Check that a request carries the token; if none is configured, that its Host is local.

    Raises:
        Rejection: it does not, or the token cannot be read.
    """
    if table.token is None:
        check_host(request)
        return
    token = reveal(table.token, "token")
    sent = _sent_token(request.headers.get("authorization", ""))
    if not hmac.compare_digest(sent, token.encode()):
        problem = "wrong token" if sent else "no token"
        remedy = "send the configured one as Authorization: Bearer, or as the password of Basic"
        raise Rejection(
            401, "token", f"{problem}; {remedy}", headers={"WWW-Authenticate": _CHALLENGE}
        )


def check_host(request: Request) -> None:
    """Check that a request to a host without a token has a loopback address as its Host.

    Raises:
        Rejection: it has another one.
    """
    # a web page in a local browser may use a host name that resolves to this machine; every
    # browser sends Host, an old sender (HTTP/1.0) may not
    host = request.headers.get("host")
    if host is not None and not _is_local(host):
        raise Rejection(403, "host", "without a token, the Host must be a loopback address")


def reveal(token: Secret, name: str) -> str:
    """Read a token of the table ``[http]``.

    Raises:
        Rejection: it cannot be read.
    """
    try:
        return token.reveal()
    except SecretUnavailableError as error:
        reason, log = f"the {name} cannot be read by alerthost", f"http.{name}: {error}"
        raise Rejection(503, "token_unreadable", reason, retry=True, error=log) from None


def _sent_token(authorization: str) -> bytes:
    """Return the token of the header; empty if the header has no token."""
    scheme, _, credentials = authorization.partition(" ")
    sent = credentials.strip().encode("latin-1")
    match scheme.casefold():
        case "bearer":
            return sent
        case "basic":
            with contextlib.suppress(binascii.Error):
                return base64.b64decode(sent, validate=True).partition(b":")[2]
    return b""


def _is_local(host: str) -> bool:
    address = Address.read(host) or Address.read(f"{host}:80")
    return address is not None and address.is_local


def _content_type(request: Request, supported: Sequence[str]) -> tuple[str, str]:
    """Return the type of a body, and the codec of its declared charset; empty for UTF-8.

    Browsers let a web page post other types to this machine without a preflight request.
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


async def _read_body(request: Request, largest: int, setting: str, memory: _BodyMemory) -> bytes:
    reason = f"the body has more than {largest} bytes ({setting})"
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
    return bytes(body)


def _decoded(body: bytes, codec: str) -> bytes:
    if not codec:
        return body
    try:
        return body.decode(codec).encode()
    except UnicodeError:
        reason = f"the body is not valid in the charset of its Content-Type ({codec})"
        raise Rejection(400, "charset", reason) from None


def check_body(body: bytes) -> None:
    """Check that a body is not empty, and has no more values than are parsed in a moment.

    A value takes up to 200 bytes of memory, and no other thread runs while it is parsed. Commas
    and brackets within texts are counted too; the limit leaves room for them.

    Raises:
        Rejection: it is empty, or has more.
    """
    if not body.strip():
        raise Rejection(400, "empty", "the body has no alert")
    if sum(body.count(mark) for mark in b",[{") > MOST_VALUES:
        reason = f"the body has more than {MOST_VALUES:,} values; send fewer alerts per request"
        raise Rejection(413, "too_many_values", reason)
