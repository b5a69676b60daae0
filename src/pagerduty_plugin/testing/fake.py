"""The fake PagerDuty: one account in one region, for tests and demos."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Callable, Collection, Mapping
from typing import Final, Self

from pagerduty_plugin.testing import account, misbehaviour, rest_api
from pagerduty_plugin.testing.backend import Backend, Request
from pagerduty_plugin.testing.pages import App
from pagerduty_plugin.testing.server import HOST, Server

REGIONS: Final = ("us", "eu")


class FakePagerDuty:
    """One PagerDuty account in one region, served over HTTP/1.1 on loopback.

    Use it as a context manager, or call `start` and `stop`; it can be started again on the same
    port, and keeps its state. For two regions use two fakes; they share no keys. Thread-safe.

    Args:
        region: ``us`` or ``eu``.
        port: The TCP port; 0 for a free one.
        services: Names of services and their integration keys; without any, every
            well-formed key is accepted.
        rate_limit: Events per integration key in any 60 seconds; 0 for no limit.
        rest_rate_limit: Calls of the REST API per token in any 60 seconds; 0 for no limit.
        subdomain: The account's subdomain of pagerduty.com.
        clock: Returns the current time with its time zone.
        ssl_context: The context for HTTPS; None for HTTP.

    Raises:
        ValueError: the region is unknown, or a service's name or key is invalid.
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
        if region not in REGIONS:
            msg = f"unknown region {region!r}; PagerDuty has {' and '.join(REGIONS)}"
            raise ValueError(msg)
        window = account.RateWindow(rate_limit)
        self._account = account.Account(
            region=region, window=window, subdomain=subdomain, clock=clock
        )
        api = rest_api.RestApi(self._account, account.RateWindow(rest_rate_limit))
        self._backend = Backend(self._account, api)
        for name, key in (services or {}).items():
            self.add_service(name, key)
        self._port = port
        self._ssl_context = ssl_context
        self._server: Server | None = None

    def __repr__(self) -> str:
        return f"<FakePagerDuty {self.region} {self.url}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, and serve on threads of its own.

        Raises:
            OSError: the port is not available.
            RuntimeError: it is listening already.
        """
        if self._server is not None:
            msg = "the fake PagerDuty is listening already"
            raise RuntimeError(msg)
        self._backend.stopping.clear()
        self._server = Server(self._backend, self._port, self._ssl_context)
        self._port = self._server.server_port
        self._server.start()

    def stop(self) -> None:
        """Refuse new connections, break open ones, and open every gate.

        Returns after all threads have ended; does nothing if it is stopped already.
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
        """The TCP port; for a free one, 0 until it listens."""
        return self._port

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        scheme = "http" if self._ssl_context is None else "https"
        return f"{scheme}://{HOST}:{self._port}"

    @property
    def incidents(self) -> tuple[account.Incident, ...]:
        """All incidents, including resolved ones, in the order of opening."""
        with self._backend.changed:
            return tuple(self._account.incidents)

    @property
    def changes(self) -> tuple[account.Change, ...]:
        """All change events in the order of arrival."""
        with self._backend.changed:
            return tuple(self._account.changes)

    @property
    def requests(self) -> tuple[Request, ...]:
        """All requests, except to the pages and the read API, in the order of arrival."""
        with self._backend.changed:
            return tuple(self._backend.requests)

    @property
    def services(self) -> tuple[account.Service, ...]:
        """All defined services with their integrations."""
        with self._backend.changed:
            return tuple(self._account.services.values())

    def add_service(self, name: str, key: str | None = None) -> str:
        """Define the service of an integration key; other keys are unknown from now on.

        Args:
            name: The service's name; an existing service gets another integration.
            key: The integration key, which is returned; None for a new one.

        Raises:
            ValueError: the name is invalid, or the key is malformed or belongs to a service.
        """
        return self.add_integration(name, key=key).key

    def create_service(self, name: str, *, status: account.Status = "active") -> str:
        """Create a service without integrations, or set the status of an existing one.

        The status is one of PagerDuty's REST API. Returns the service's id.

        Raises:
            ValueError: the name or the status is invalid.
        """
        with self._backend.changed:
            return self._account.create_service(name, status).id

    def add_integration(  # noqa: PLR0913 - each has a default and a name
        self,
        service: str,
        type: str = account.EVENTS_API_V2,  # noqa: A002 - PagerDuty's word
        *,
        name: str = "",
        key: str | None = None,
        vendor: str = "",
        key_shown: account.Shown = "everywhere",
    ) -> account.Integration:
        """Add an integration to a service, which is created if it does not exist.

        Args:
            service: The service's name.
            type: A type of PagerDuty's REST API; only the key of an
                ``events_api_v2_inbound_integration`` sends events.
            name: Its name; empty for one derived from the type.
            key: Its integration key; None for a new one (e-mail integrations have none).
            vendor: The id of its vendor.
            key_shown: Where the REST API shows its key: ``everywhere``, ``alone`` (not in a list)
                or ``nowhere``.

        Raises:
            ValueError: an argument is invalid, or the key belongs to a service.
        """
        with self._backend.changed:
            return self._account.add_integration(
                service, type, name=name, key=key, vendor=vendor, key_shown=key_shown
            )

    def add_api_token(
        self, token: str | None = None, *, scopes: Collection[str] = rest_api.SCOPES
    ) -> str:
        """Accept a token of the REST API, which refuses all other tokens, and return it.

        Args:
            token: An account's token (20 characters) or an OAuth token (``pdus+_...`` or
                ``pdeu+_...``); None for a new one of the account.
            scopes: Its scopes: ``services.read``, ``services.write``.

        Raises:
            ValueError: the token is malformed, or a scope is unknown.
        """
        with self._backend.changed:
            return self._backend.rest_api.add_token(token, scopes)

    def register_app(self, app: App) -> None:
        """Register an app for the install page ``/install/integration``, by its id."""
        with self._backend.changed:
            self._backend.apps[app.app_id] = app

    def misbehave(
        self,
        how: misbehaviour.Misbehaviour,
        *,
        times: int | None = None,
        key: str | None = None,
        path: str = "",
        rate: float = 1.0,
    ) -> misbehaviour.Script:
        """Apply a misbehaviour to requests, and return the script, which can be cleared alone.

        The first of several scripts is used up first.

        Args:
            how: The misbehaviour; see `pagerduty_plugin.testing.misbehaviour`.
            times: The number of requests; None for all until it is cleared.
            key: The integration key of the requests; None for all.
            path: A part of the path of the requests, including the query; empty for all.
            rate: The share of the requests, from 0 to 1; the same ones in every run.

        Raises:
            ValueError: ``times`` is below 1, ``rate`` is not a share, or ``key`` is given for a
                body that is never read.
        """
        script = misbehaviour.Script(how, times, key, path, rate)
        with self._backend.changed:
            self._backend.scripts.append(script)
        return script

    def behave(self) -> None:
        """Clear every script; requests at a gate stay blocked."""
        with self._backend.changed:
            for script in self._backend.scripts:
                script.clear()

    def wait_for(self, predicate: Callable[[FakePagerDuty], object], timeout: float = 60.0) -> None:
        """Wait at most ``timeout`` seconds for a condition, which is checked after every request.

        Raises:
            TimeoutError: it still does not hold; the message lists requests and incidents.
        """
        with self._backend.changed:
            if self._backend.changed.wait_for(lambda: predicate(self), timeout):
                return
            seen = f"requests: {self._backend.requests}; incidents: {self._account.incidents}"
        msg = f"still waiting after {timeout} s; {seen}"
        raise TimeoutError(msg)
