"""Access to the console: signing in, sessions, and the tokens of forms."""

from __future__ import annotations

import collections
import enum
import functools
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from itsdangerous import BadSignature, Signer, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from alerthost.config.tables import HttpTable
from alerthost.http.request import check_host, reveal
from alerthost.http.responses import Rejection

COOKIE: Final = "alerthost_session"
CSRF: Final = "csrf"
"""The field of each form that changes something; its value belongs to the session."""

LASTS: Final = 12 * 3600
"""Seconds until a session expires."""

MOST_ATTEMPTS: Final = 10
"""Failed attempts to sign in from one address, within `ATTEMPTS_WITHIN`."""

ATTEMPTS_WITHIN: Final = 300.0
"""Seconds for which a failed attempt counts."""

_KEPT_ATTEMPTS: Final = 10_000


class Role(enum.StrEnum):
    """The rights of a session."""

    NONE = ""
    """Nothing but to sign in."""
    VIEWER = "viewer"
    """See everything, and change nothing."""
    OPERATOR = "operator"
    """See and change everything."""


@attrs.frozen
class Session:
    """A browser's session.

    Attributes:
        csrf: the value that its forms send as `CSRF`.
        cookie: the value of its cookie.
        is_new: whether the browser does not have its cookie yet.
    """

    role: Role
    csrf: str = attrs.field(repr=False)
    cookie: str = attrs.field(repr=False)
    is_new: bool = False


class Access:
    """Signs operators in with a token, and recognises their sessions.

    A session is a signed cookie. Its key is derived from the tokens, so every process knows it,
    and a changed token ends all sessions. Without a token every local browser is an operator, and
    the key is random for each process. A browser that has not signed in gets a random cookie
    without a signature, as anyone could try to guess a token from a signature.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._own_key = secrets.token_bytes(32)
        self._attempts = _Attempts(clock)

    def session(self, request: Request, table: HttpTable) -> Session:
        """Return the session of a request, or a new one.

        Raises:
            Rejection: there is no token and the Host is not local, or a token cannot be read.
        """
        if table.token is None:
            check_host(request)
        key = self._key(table)
        cookie = request.cookies.get(COOKIE, "")
        try:
            found = _serializer(key).loads(cookie, max_age=LASTS)
        except BadSignature:
            return _visitor(cookie) if table.token else _session(key, Role.OPERATOR)
        return Session(Role(found["role"]), _csrf(key, found["id"]), cookie)

    def sign_in(self, client: str, table: HttpTable, token: str) -> Session:
        """Return the session for a token that was entered.

        Raises:
            Rejection: the token is wrong, cannot be read, or there were too many attempts.
        """
        self._attempts.check(client)
        sent = token.strip().encode()
        for role, kept in ((Role.OPERATOR, table.token), (Role.VIEWER, table.viewer_token)):
            known = reveal(kept, "token") if kept is not None else ""
            if known and hmac.compare_digest(sent, known.encode()):
                return _session(self._key(table), role)
        self._attempts.note(client)
        raise Rejection(401, "sign_in", "this is not the token of http.token or http.viewer_token")

    def _key(self, table: HttpTable) -> bytes:
        if table.token is None:
            return self._own_key
        viewer = reveal(table.viewer_token, "viewer_token") if table.viewer_token else ""
        return _derive(reveal(table.token, "token"), viewer)


def set_cookie(response: Response, session: Session, table: HttpTable) -> None:
    """Send the cookie of a session."""
    response.set_cookie(COOKIE, session.cookie, max_age=LASTS, **_attributes(table))


def delete_cookie(response: Response, table: HttpTable) -> None:
    """Delete the cookie of a browser that signs out; a copy of it is valid until it expires."""
    response.delete_cookie(COOKIE, **_attributes(table))


def _attributes(table: HttpTable) -> dict[str, Any]:
    return {
        "path": "/console",
        "secure": table.public_url.startswith("https:"),
        "httponly": True,
        "samesite": "strict",
    }


def check_form(session: Session, fields: Mapping[str, str]) -> None:
    """Check that a form was sent from a page of its session.

    Raises:
        Rejection: it was not.
    """
    if not hmac.compare_digest(fields.get(CSRF, "").encode(), session.csrf.encode()):
        reason = "this page is too old, or another site sent this form: reload it and try again"
        raise Rejection(403, "csrf", reason)


class _Attempts:
    """Counts failed attempts to sign in by client."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: collections.deque[tuple[float, str]] = collections.deque(
            maxlen=_KEPT_ATTEMPTS
        )

    def check(self, client: str) -> None:
        """Raise a Rejection if there were too many."""
        since = self._clock() - ATTEMPTS_WITHIN
        with self._lock:
            failed = sum(name == client and at > since for at, name in self._failed)
        if failed >= MOST_ATTEMPTS:
            reason = f"too many failed attempts; try again in {ATTEMPTS_WITHIN / 60:.0f} minutes"
            raise Rejection(429, "sign_in_attempts", reason)

    def note(self, client: str) -> None:
        """Count one more."""
        with self._lock:
            self._failed.append((self._clock(), client))


def _session(key: bytes, role: Role) -> Session:
    number = secrets.token_urlsafe(16)
    cookie = _serializer(key).dumps({"id": number, "role": role})
    return Session(role, _csrf(key, number), str(cookie), is_new=True)


def _visitor(cookie: str) -> Session:
    """Return the session of a browser that has not signed in; its cookie may be an expired one."""
    kept = cookie or secrets.token_urlsafe(16)
    return Session(Role.NONE, _csrf(b"", kept), kept, is_new=not cookie)


def _csrf(key: bytes, number: str) -> str:
    return Signer(key, salt="alerthost form").get_signature(number).decode()


def _serializer(key: bytes) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(key, salt="alerthost session")


@functools.lru_cache(maxsize=2)
def _derive(token: str, viewer: str) -> bytes:
    """Derive the key of sessions; slowly, as a viewer could guess the token from a cookie."""
    salt = b"alerthost session " + viewer.encode()
    return hashlib.scrypt(token.encode(), salt=salt, n=2**14, r=8, p=1)
