"""Post a body to alerthost, and classify the response. Imports http.client, which is slow."""

from __future__ import annotations

import encodings.idna  # noqa: F401 -- by `socket` at the first post, but a fork may interrupt that
import enum
import http.client
import io
import json
import re
import socket
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from alerthost_client.alert import LONGEST_SHOWN, ClientError

ATTEMPT_WITHIN = 30.0
"""Seconds of one attempt in all."""

LARGEST_ANSWER = 4 * 1024 * 1024
"""Bytes of a response that are read; alerthost lists all alerts that it does not accept."""

LONGEST_PAUSE = 300.0
"""Seconds of a Retry-After that are respected."""

_SERVER_ERROR = 500
_TOKEN = re.compile("[!-~]+")


class Kind(enum.Enum):
    """The effect of a response on the alerts of its request."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """The same body is never accepted."""
    RETRY = "retry"
    """It may be accepted later, as may all others."""
    FAILED = "failed"
    """alerthost failed at it; others may be accepted."""
    MISCONFIGURED = "misconfigured"
    """It may be accepted later, once the operator has fixed the address or the token."""


class Answer(NamedTuple):
    """The result of one attempt.

    Attributes:
        kind: of the whole request.
        reason: for the log.
        retry_after: seconds that alerthost asks to wait; None if it does not say.
        refused: numbers of the lines that are to be posted again, if the others are accepted.
        faulty: why lines are rejected, if the others are accepted.
    """

    kind: Kind
    reason: str = ""
    retry_after: float | None = None
    refused: Collection[int] = ()
    faulty: Mapping[int, str] = {}


def classify(status: int, retry_after: str | None, body: bytes) -> Answer:
    """Classify a response.

    Only 202 is an acceptance: another server at the address may answer 200.
    """
    pause = None
    if retry_after is not None and re.fullmatch(r"[0-9]{1,9}", retry_after.strip()):
        pause = min(float(retry_after), LONGEST_PAUSE)
    if status == http.client.ACCEPTED:
        return _accepted(body, pause)
    reason = f"{status}: {_error(body)}"
    if status in {400, 413, 422}:
        return Answer(Kind.REJECTED, reason)
    if status == _SERVER_ERROR:
        return Answer(Kind.FAILED, reason, pause)
    is_passing = status in {408, 425, 429} or status > _SERVER_ERROR
    return Answer(Kind.RETRY if is_passing else Kind.MISCONFIGURED, reason, pause)


def _accepted(body: bytes, pause: float | None) -> Answer:
    """Return which lines were accepted; none if the response was cut off."""
    try:
        content = json.loads(body)
        retry = content.get("retry") or {"lines": (), "reason": ""}
        faulty = {each["line"]: str(each["reason"]) for each in content.get("faulty", ())}
        reason, refused = str(retry["reason"]), frozenset(retry["lines"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return Answer(Kind.RETRY, f"202 with an unknown body: {_error(body)}", pause)
    return Answer(Kind.ACCEPTED, reason, pause, refused, faulty)


class Transport:
    """Posts to ``/alerts`` below a URL; each attempt has a connection of its own.

    Args:
        url: of alerthost.
        token: returns the token, or None; may raise OSError.

    Raises:
        ClientError: the URL is not an absolute http or https URL.
    """

    def __init__(self, url: str, token: Callable[[], str | None]) -> None:
        fault = f"url: {url!r} is not a URL of alerthost; use for example http://127.0.0.1:9095"
        try:
            parts = urlsplit(url)
            self._port = parts.port
        except ValueError:
            raise ClientError(fault) from None
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
            raise ClientError(fault)
        self.url = url
        self._host = parts.hostname
        self._is_tls = parts.scheme == "https"
        self._path = f"{parts.path.rstrip('/')}/alerts?partial=true"
        self._token = token

    def post(self, body: bytes, key: str) -> Answer:
        """Make one attempt to post JSON lines; raises nothing, as the alerts are posted again."""
        end = time.monotonic() + ATTEMPT_WITHIN
        headers = {
            "Content-Type": "application/x-ndjson",
            "Idempotency-Key": key,
            "Connection": "close",
        }
        try:
            token = self._token()
        except OSError as error:
            return Answer(Kind.MISCONFIGURED, f"token: cannot be read: {describe(error)}")
        if token is not None:
            if not _TOKEN.fullmatch(token):  # http.client would show it in its error
                return Answer(Kind.MISCONFIGURED, "token: is not a word of ASCII characters")
            headers["Authorization"] = f"Bearer {token}"
        make = http.client.HTTPSConnection if self._is_tls else http.client.HTTPConnection
        connection = make(self._host, self._port, timeout=ATTEMPT_WITHIN)
        try:
            connection.request("POST", self._path, body, headers)
            response = http.client.HTTPResponse(_Deadline(connection.sock, end))  # type: ignore[arg-type]
            response.begin()
            content = response.read(LARGEST_ANSWER)
        except Exception as error:  # noqa: BLE001 -- the thread has to live
            return Answer(Kind.RETRY, describe(error))
        finally:
            connection.close()
        return classify(response.status, response.getheader("Retry-After"), content)


class _Deadline(io.RawIOBase):
    """Reads a socket until a deadline, however slowly the bytes arrive."""

    def __init__(self, connected: socket.socket, end: float) -> None:
        super().__init__()
        self._socket = connected
        self._end = end

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return the file that `http.client.HTTPResponse` reads."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(self._end - time.monotonic())  # ValueError after the deadline
        return self._socket.recv_into(buffer)


def node() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


def describe(error: Exception) -> str:
    """Return the text of an error of the network or the disk, with the file's name."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    file = getattr(error, "filename", None)
    return f"{file}: {text}" if file else text


def _error(body: bytes) -> str:
    """Return the error of a response of alerthost with its first fault, or the start of a body."""
    text = body.decode("utf-8", "replace")
    try:
        content = json.loads(text)
        text = str(content["error"])
        fault = content["faults"][0]
        text += f": {fault['path']}: {fault['reason']}"
    except (ValueError, LookupError, TypeError):
        pass
    text = " ".join(text.split())
    return text[:LONGEST_SHOWN]
