"""Checks who calls: a sender that knows the token, or one on this machine."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Final

from starlette.requests import Request

from alerthost.config.http_table import Address, HttpTable
from alerthost.http.refusals import Refusal
from hostspec.secret import SecretUnavailableError
from hostspec.text import is_loopback

_CHALLENGE: Final = 'Bearer, Basic realm="alerthost"'
"""Some senders show a password only after they were asked for one."""


def check_caller(request: Request, table: HttpTable) -> None:
    """Check that a request carries the token; without one, that it names this machine.

    Raises:
        Refusal: it does neither, or the token cannot be read.
    """
    if table.token is None:
        # a page in a browser on this machine may name a host that leads here; a browser always
        # names one, an old sender (HTTP/1.0) need not
        host = request.headers.get("host")
        if host is not None and not _names_loopback(host):
            stranger = "without a token, only this machine may be named as host"
            raise Refusal(403, "host", stranger)
        return
    try:
        token = table.token.reveal()
    except SecretUnavailableError as error:
        unreadable, cause = "the token cannot be read here", f"http.token: {error}"
        raise Refusal(503, "token_unreadable", unreadable, again=True, error=cause) from None
    shown = _shown_token(request.headers.get("authorization", ""))
    if not hmac.compare_digest(shown, token.encode()):
        unknown = "send the token as Authorization: Bearer TOKEN, or as the password of Basic"
        raise Refusal(401, "token", unknown, headers={"WWW-Authenticate": _CHALLENGE})


def _shown_token(authorization: str) -> bytes:
    """Return the token that a header carries; empty where it carries none."""
    scheme, _, credentials = authorization.partition(" ")
    given = credentials.strip().encode("latin-1")
    match scheme.casefold():
        case "bearer":
            return given
        case "basic":
            try:
                return base64.b64decode(given, validate=True).partition(b":")[2]
            except binascii.Error:
                return b""
    return b""


def _names_loopback(host: str) -> bool:
    address = Address.read(host) or Address.read(f"{host}:80")
    return address is not None and is_loopback(address.host)
