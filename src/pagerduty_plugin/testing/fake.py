"""The fake PagerDuty: one account in one region, served on loopback, for tests and demos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from pagerduty_plugin.testing import account, misbehaviour, rest_api, service_directory
from pagerduty_plugin.testing.backend import Backend
from pagerduty_plugin.testing.server import HOST, Server

if TYPE_CHECKING:
    import datetime as dt
    import ssl
    from collections.abc import Callable, Collection, Mapping
    from types import TracebackType

    from pagerduty_plugin.testing.install_page import App
    from pagerduty_plugin.testing.log import Request

REGIONS: Final = ("us", "eu")


class FakePagerDuty:
    """One PagerDuty account in one region, served over HTTP/1.1 on loopback.

    Use it as a context manager, or call `start` and `stop`; a stopped one can be started again
    on the same port and still knows everything. Two regions are two of them: a key named at one
    is unknown at the other. Safe for several threads.

    Args:
        region: ``us`` or ``eu``.
        port: The TCP port; 0 takes a free one.
        services: Names of services and their integration keys. While there is none, every
            well-formed key is taken.
        rate_limit: Events that each integration key may send in any 60 seconds; 0 is no limit.
        rest_rate_limit: Calls of the REST API that each token may make in any 60 seconds; 0 is no
            limit.
        subdomain: The part of the account's web address that is its own.
        clock: Tells the time, with its time zone.
        ssl_context: Serves HTTPS with it.

    Raises:
        ValueError: the region is unknown, or a service's name or key cannot be.
    """

    def __init__(  # noqa: PLR0913 - each has a default and a name
        self,
        *,
        region: str = "us",
        port: int = 0,
        services: Mapping[str, str] | None = None,
        rate_limit: int = account.RATE_LIMIT,
        rest_rate_limit: int = rest_api.RATE_LIMIT,
        subdomain: str = "acme",
        clock: Callable[[], dt.datetime] = account.utc_now,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Make a fake that does not listen yet."""
        if region not in REGIONS:
            msg = f"unknown region {region!r}; PagerDuty has {' and '.join(REGIONS)}"
            raise ValueError(msg)
        self._account = account.Account(
            region=region, rate_limit=rate_limit, subdomain=subdomain, clock=clock
        )
        for name, key in (services or {}).items():
            self._account.add_service(name, key)
        self._rest_api = rest_api.RestApi(self._account, rest_rate_limit)
        self._backend = Backend(self._account, self._rest_api)
        self._port = port
        self._ssl_context = ssl_context
        self._server: Server | None = None

    def __repr__(self) -> str:
        """Name region and URL."""
        return f"<FakePagerDuty {self.region} {self.url}>"

    def __enter__(self) -> Self:
        """Start to listen."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Listen, and answer on threads of its own.

        Raises:
            OSError: the port cannot be had.
            RuntimeError: it listens already.
        """
        if self._server is not None:
            msg = "the fake PagerDuty listens already"
            raise RuntimeError(msg)
        self._backend.stopping.clear()
        self._server = Server(self._backend, self._port, self._ssl_context)
        self._port = self._server.server_port
        self._server.start()

    def stop(self) -> None:
        """Refuse connections, break those that are open, and open every gate.

        It returns when no thread of the fake is left; stopping twice does nothing.
        """
        if self._server is not None:
            self._backend.stop()
            self._server.stop()
            self._server = None

    @property
    def region(self) -> str:
        """The region of the account."""
        return self._account.region

    @property
    def port(self) -> int:
        """The TCP port; 0 until it listens, if a free one was asked for."""
        return self._port

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        scheme = "http" if self._ssl_context is None else "https"
        return f"{scheme}://{HOST}:{self._port}"

    @property
    def incidents(self) -> tuple[account.Incident, ...]:
        """Every incident, resolved ones too, in the order in which they opened."""
        with self._backend.changed:
            return tuple(self._account.incidents)

    @property
    def changes(self) -> tuple[account.Change, ...]:
        """Every change event, in the order in which they were taken."""
        with self._backend.changed:
            return tuple(self._account.changes)

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request but those to the pages and the read API, in the order of arrival."""
        with self._backend.changed:
            return tuple(self._backend.requests)

    @property
    def services(self) -> tuple[service_directory.Service, ...]:
        """Every service that was named, with its integrations."""
        with self._backend.changed:
            return self._account.directory.services

    def add_service(self, name: str, key: str | None = None) -> str:
        """Name the service of an integration key; from now on unnamed keys are unknown.

        Args:
            name: The service's name; a name given again adds another integration to it.
            key: The integration key; None makes one.

        Returns:
            The integration key.

        Raises:
            ValueError: the name cannot be, or the key is malformed or already has a service.
        """
        with self._backend.changed:
            return self._account.add_service(name, key)

    def create_service(self, name: str, *, status: service_directory.Status = "active") -> str:
        """Create a service without integrations; one of this name gets the status.

        Args:
            name: The service's name.
            status: Its status, as in PagerDuty's REST API.

        Returns:
            The service's id.

        Raises:
            ValueError: the name or the status cannot be.
        """
        with self._backend.changed:
            return self._account.directory.add_service(name, status).id

    def add_integration(  # noqa: PLR0913 - each has a default and a name
        self,
        service: str,
        type: str = service_directory.EVENTS_API_V2,  # noqa: A002 - PagerDuty's word
        *,
        name: str = "",
        key: str | None = None,
        vendor: str = "",
        key_shown: service_directory.Shown = "everywhere",
    ) -> service_directory.Integration:
        """Add an integration to a service, which is added too if there is none of this name.

        Args:
            service: The service's name.
            type: One of the types of PagerDuty's REST API; only the key of an
                ``events_api_v2_inbound_integration`` takes events here.
            name: What people call it; empty for a name made of its type.
            key: Its integration key; None makes one, but for an e-mail integration.
            vendor: The id of the vendor it was made for.
            key_shown: Where the REST API shows its key: ``everywhere``, ``alone`` (not in a list)
                or ``nowhere``.

        Raises:
            ValueError: one of them cannot be, or the key already has a service.
        """
        with self._backend.changed:
            return self._account.directory.add_integration(
                service, type, name=name, key=key, vendor=vendor, key_shown=key_shown
            )

    def add_api_token(
        self, token: str | None = None, *, scopes: Collection[str] = rest_api.SCOPES
    ) -> str:
        """Take a token of the REST API; without any, every call is refused.

        Args:
            token: An account's token (20 characters) or an OAuth token (``pdus+_...`` or
                ``pdeu+_...``); None makes one for the account. One that is known gets the scopes.
            scopes: What it may do: ``services.read``, ``services.write``.

        Returns:
            The token.

        Raises:
            ValueError: the token is of neither form, or a scope is unknown.
        """
        with self._backend.changed:
            return self._rest_api.add_token(token, scopes)

    def register_app(self, app: App) -> None:
        """Let an app be installed: its install page is at ``/install/integration``.

        Args:
            app: The app; one of the same id is replaced.
        """
        with self._backend.changed:
            self._backend.apps[app.app_id] = app

    def misbehave(
        self,
        how: misbehaviour.Misbehaviour,
        *,
        times: int | None = None,
        key: str | None = None,
        path: str = "",
    ) -> misbehaviour.Script:
        """Misbehave towards requests; of several scripts, the one given first is used up first.

        Args:
            how: What the requests meet; see `pagerduty_plugin.testing.misbehaviour`.
            times: How many requests meet it; None is until cleared.
            key: The integration key of these requests; None is all of them.
            path: What the path of these requests holds, query included; empty is all of them.

        Returns:
            The script, which can be cleared on its own.

        Raises:
            ValueError: ``times`` is below 1, or ``key`` is given for a body that is never read.
        """
        script = misbehaviour.Script(how, times, key, path)
        self._backend.misbehave(script)
        return script

    def behave(self) -> None:
        """Clear every script; requests that wait at a gate go on waiting."""
        self._backend.behave()

    def wait_for(self, predicate: Callable[[FakePagerDuty], object], timeout: float = 60.0) -> None:
        """Wait until something holds, looking again whenever a request changes anything here.

        Args:
            predicate: Is given this fake and says whether it holds.
            timeout: For how many seconds at most.

        Raises:
            TimeoutError: it still does not hold; the message says what the fake has seen.
        """
        with self._backend.changed:
            if self._backend.changed.wait_for(lambda: predicate(self), timeout):
                return
            seen = f"requests: {self._backend.requests}; incidents: {self._account.incidents}"
        msg = f"still waiting after {timeout} s; {seen}"
        raise TimeoutError(msg)
