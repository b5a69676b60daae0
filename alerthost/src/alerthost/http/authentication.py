"""Authenticate requests: by the token, or, without a configured token, as local."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Final

from starlette.requests import Request

from alerthost.config.http_table import Address, HttpTable
from alerthost.http.responses import Rejection
from hostspec.secret import SecretUnavailableError

_CHALLENGE: Final = 'Bearer, Basic realm="alerthost"'
"""Some senders show a password only after a challenge."""


def authenticate(request: Request, table: HttpTable) -> None:
    """Check that a request carries the token; if none is configured, that its Host is local.

    Raises:
        Rejection: it does not, or the token cannot be read.
    """
    if table.token is None:
        # a web page in a local browser may use a host name that resolves to this machine; every
        # browser sends Host, an old sender (HTTP/1.0) may not
        host = request.headers.get("host")
        if host is not None and not _is_local(host):
            reason = "without a token, the Host must be a loopback address"
            raise Rejection(403, "host", reason)
        return
    try:
        token = table.token.reveal()
    except SecretUnavailableError as error:
        reason, log = "the token cannot be read by alerthost", f"http.token: {error}"
        raise Rejection(503, "token_unreadable", reason, retry=True, error=log) from None
    sent = _sent_token(request.headers.get("authorization", ""))
    if not hmac.compare_digest(sent, token.encode()):
        reason = "send the token as Authorization: Bearer TOKEN, or as the password of Basic"
        raise Rejection(401, "token", reason, headers={"WWW-Authenticate": _CHALLENGE})


def _sent_token(authorization: str) -> bytes:
    """Return the token of the header; empty if the header has no token."""
    scheme, _, credentials = authorization.partition(" ")
    sent = credentials.strip().encode("latin-1")
    match scheme.casefold():
        case "bearer":
            return sent
        case "basic":
            try:
                return base64.b64decode(sent, validate=True).partition(b":")[2]
            except binascii.Error:
                return b""
    return b""


def _is_local(host: str) -> bool:
    address = Address.read(host) or Address.read(f"{host}:80")
    return address is not None and address.is_local
