"""Why a request got no response, in words for the operator.

Neither the text of an exception, which may contain an address, nor its class is shown.
"""

from __future__ import annotations

import http.client
import re
import ssl
import traceback
from collections.abc import Iterator
from pathlib import PurePath
from typing import Final

import attrs

from pagerduty_plugin.http import deadline
from pagerduty_plugin.http.network import NetworkSettingError
from pagerduty_plugin.http.responses import Failure, NoReply
from pagerduty_plugin.settings import NetworkSettings

_TUNNEL: Final = re.compile(r"Tunnel connection failed: (?P<words>(?P<kind>\d)\d\d.{,100}).*")
"""The error of `http.client` when a proxy refuses to connect."""

_CERTIFICATE_REJECTED: Final = re.compile(
    r"ALERT.*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE)"
)
"""TLS alerts of a server that rejects a client certificate, or misses one."""

_NOT_HTTP: Final = "the reply is not HTTP"


def no_reply(error: Exception, handled: BaseException | None, network: NetworkSettings) -> NoReply:
    """Return why there is no reply, and whether the event may have been sent.

    Args:
        error: the exception of the attempt.
        handled: the exception that the caller was handling before: Python chains it to every
            exception raised meanwhile, but it says nothing about this attempt.
        network: the settings of the attempt.
    """
    chain = tuple(causes(error, handled))
    return attrs.evolve(_no_reply(error, chain, network), sent=_may_be_sent(chain))


def _no_reply(
    error: Exception, chain: tuple[BaseException, ...], network: NetworkSettings
) -> NoReply:
    import requests.exceptions

    if isinstance(error, NetworkSettingError):
        return NoReply(Failure.CONFIGURATION, str(error))
    if deadline.over():
        return NoReply(Failure.NETWORK, f"no reply within {network.timeout:g} s")
    cause = _reason(chain)
    if any(isinstance(each, TimeoutError) and not each.strerror for each in chain):
        cause = f"no connection within {network.connect_timeout:g} s"
    kind = Failure.CONFIGURATION if any(map(_is_rejected_certificate, chain)) else Failure.NETWORK
    if isinstance(error, requests.exceptions.ProxyError):
        answer = next(filter(None, (_TUNNEL.fullmatch(str(each)) for each in chain)), None)
        if answer is None:
            return NoReply(kind, f"no proxy: {cause}")
        kind = Failure.CONFIGURATION if answer["kind"] == "4" else Failure.NETWORK
        return NoReply(kind, f"the proxy answered {answer['words'].strip()}")
    if isinstance(error, requests.exceptions.SSLError):
        return NoReply(kind, f"TLS failed: {cause}")
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return NoReply(Failure.NETWORK, f"no connection within {network.connect_timeout:g} s")
    if isinstance(error, requests.exceptions.ConnectionError):
        return NoReply(Failure.NETWORK, cause if cause == _NOT_HTTP else f"no connection: {cause}")
    if isinstance(error, ValueError):
        reason = "cannot be sent: the address is not a valid URL; check base_url"
        return NoReply(Failure.CONFIGURATION, reason)
    return NoReply(Failure.CONFIGURATION, f"cannot be sent: {cause}")


def _may_be_sent(chain: tuple[BaseException, ...]) -> bool:
    """Check whether there was a connection, so that the body may have been sent."""
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    never = (ConnectTimeoutError, NewConnectionError)
    return not any(isinstance(each, never) for each in chain)


def causes(error: BaseException, handled: BaseException | None = None) -> Iterator[BaseException]:
    """Yield an exception and everything that caused it, except what the caller handled before."""
    seen = {id(handled)}
    queue: list[object] = [error]
    while queue:
        each = queue.pop(0)
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            queue += [getattr(each, "reason", None), *each.args, each.__cause__, each.__context__]


def _is_rejected_certificate(error: BaseException) -> bool:
    """Check whether one side rejects the other's certificate."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    return isinstance(error, ssl.SSLError) and bool(
        _CERTIFICATE_REJECTED.search(error.reason or "")
    )


def _reason(chain: tuple[BaseException, ...]) -> str:
    """Return the cause, in the system's words if it has some."""
    for each in chain:
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message or "the certificate is not trusted"
    for each in chain:
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
    for each in chain:
        if isinstance(each, ConnectionError):
            return "the other side closed the connection without a reply"
        if isinstance(each, http.client.HTTPException):
            return _NOT_HTTP
    return f"unexpected error at {_location(chain[0])}"


def _location(error: BaseException) -> str:
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return f"{PurePath(frame.f_code.co_filename).name}:{line}"
