"""The table ``[http]``: where ``alerthost run`` listens, who may post, and how much."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from alerthost.config import store
from alerthost.config.secret_files import beside
from alerthost.config.source import Source
from hostspec.errors import Fault
from hostspec.secret import Secret, SecretUnavailableError
from hostspec.settings import SettingsError, setting
from hostspec.structuring import structure
from hostspec.text import is_loopback

_ADDRESS: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s:\[\]/]+)):(?P<port>\d+)"
)
_HIGHEST_PORT: Final = 65535


@attrs.frozen
class Address:
    """Where to listen.

    Attributes:
        host: an address or a name; one of IPv6 without its brackets.
        port: 0 for a free one.
    """

    host: str
    port: int

    @classmethod
    def read(cls, text: str) -> Address | None:
        """Read ``HOST:PORT``; None where it is something else."""
        found = _ADDRESS.fullmatch(text)
        if found is None or int(found["port"]) > _HIGHEST_PORT:
            return None
        return cls(found["six"] or found["name"], int(found["port"]))

    @property
    def is_of_ip_6(self) -> bool:
        """Whether it is an address of IPv6."""
        return ":" in self.host

    def url(self, port: int) -> str:
        """Return the URL at which it is reached, with the port that it came to."""
        return f"http://[{self.host}]:{port}" if self.is_of_ip_6 else f"http://{self.host}:{port}"


def _listen_fault(listen: str) -> str | None:
    if Address.read(listen) is None:
        return "is no address to listen on; right would be 127.0.0.1:9095 or [::1]:9095"
    return None


@attrs.frozen(kw_only=True)
class HttpTable:
    """The table ``[http]``."""

    listen: str = setting(
        "Listen",
        help="Where to listen: HOST:PORT. Beyond this machine only with a token.",
        default="127.0.0.1:9095",
        check=_listen_fault,
    )
    token: Secret | None = setting(
        "Token",
        help="What clients send as Authorization: Bearer, or as the password of Basic, by "
        "reference; file:PATH is relative to this file. Without one, any process on this "
        "machine may post.",
        default=None,
        check=store.reference_fault,
    )
    largest_body: int = setting(
        "Largest body",
        help="Bytes that a request may have.",
        default=32 * 1024 * 1024,
        minimum=1024,
        maximum=256 * 1024 * 1024,
    )
    most_alerts: int = setting(
        "Most alerts",
        help="Alerts that a request may have. Alertmanager's max_alerts has to be lower, or its "
        "groups smaller.",
        default=5_000,
        minimum=1,
        maximum=100_000,
    )
    most_connections: int = setting(
        "Most connections",
        help="Connections that may be open at once; fewer where the process may open few files. "
        "The one that is idle longest makes way for a new one.",
        default=256,
        minimum=4,
    )
    backlog: int = setting(
        "Backlog",
        help="How many statements and deliveries may wait before new alerts are turned away "
        "for a while. Each scope and destination may use half, and a quarter is kept for "
        "critical alerts and resolves.",
        default=100_000,
        minimum=1,
    )

    def faults(self) -> Iterator[Fault]:
        """Refuse to listen for everybody without knowing who they are."""
        address = Address.read(self.listen)
        if address and self.token is None and not is_loopback(address.host):
            reason = "is beyond this machine; give a token too, or listen on 127.0.0.1"
            yield Fault("listen", reason)

    @property
    def address(self) -> Address:
        """Where to listen."""
        address = Address.read(self.listen)
        assert address is not None  # noqa: S101 -- `listen` was checked
        return address


def read(source: Source) -> HttpTable:
    """Read the table of a file that was loaded, so that it has no faults.

    The token's file is beside the file of the configuration.
    """
    table = structure(HttpTable, source.document.get("http", {}))
    return attrs.evolve(table, token=beside(table.token, source.folder))


def token_faults(source: Source) -> Sequence[Fault]:
    """Describe why the token cannot be read; a faulty table has faults of its own."""
    try:
        token = structure(HttpTable, source.document.get("http", {})).token
    except SettingsError:
        return ()
    token = beside(token, source.folder)
    try:
        if token is not None:
            token.reveal()
    except SecretUnavailableError as error:
        return (source.placed(Fault("http.token", str(error))),)
    return ()
