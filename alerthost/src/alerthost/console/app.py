"""The routes of the console, and what holds for every page: access, forms, headers, faults."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from alerthost.config.accounts import open_accounts
from alerthost.config.document import ConfigurationError
from alerthost.config.tables import HttpTable
from alerthost.console import (
    account_settings,
    accounts,
    activity,
    alerts,
    connecting,
    deliveries,
    incidents,
    overview,
    plugins,
    rule_form,
    rules,
    service_test,
    services,
)
from alerthost.console.access import (
    COOKIE,
    Access,
    Role,
    Session,
    check_form,
    delete_cookie,
    set_cookie,
)
from alerthost.console.events import Events
from alerthost.console.rendering import HEADERS, MEDIA_TYPES, PREFIX, link, render, static
from alerthost.console.view import DIGITS, Html, Redirect, View
from alerthost.http.app import Backend, Endpoint, HttpApp, Present, client_of
from alerthost.http.request import check_host, received
from alerthost.http.responses import Rejection
from alerthost.outbox.activity import Actor, Change
from alerthost.outbox.admin_rows import AdminError
from alerthost.store.errors import StoreError
from hostspec.connect import CALLBACK_HEADERS

Handler = Callable[[View], Html | Redirect]
"""Builds a page, or changes something; in a thread."""

_Endpoint = Callable[[Request, Session, Mapping[str, str]], Awaitable[Response]]
"""Answers a request with its session and the fields of its form."""

LARGEST_FORM: Final = 1024 * 1024
"""Bytes of a form, at most."""

MOST_FIELDS: Final = 10_000
"""Fields of a form, at most."""

SIGN_IN: Final = "/sign-in"

NAVIGATION: Final = (
    ("/", "Overview"),
    ("/incidents", "Incidents"),
    ("/deliveries", "Deliveries"),
    ("/alerts", "Alerts"),
    ("/rules", "Rules"),
    ("/accounts", "Accounts"),
    ("/plugins", "Plugins"),
    ("/activity", "Activity"),
)

_FORM: Final = ("application/x-www-form-urlencoded",)

_TITLES: Final = {
    401: "Sign in",
    403: "Not allowed",
    404: "Not found",
    409: "That was not possible",
    429: "Too many requests",
    500: "A fault of alerthost",
    503: "Not available now",
}

PAGES: Final[Mapping[str, Handler]] = {
    "/": overview.show,
    "/incidents": incidents.show_list,
    "/incidents/{number:row}": incidents.show,
    "/deliveries": deliveries.show_list,
    "/deliveries/{number:row}": deliveries.show,
    "/deliveries/all": deliveries.ask_all,
    "/deliveries/progress": deliveries.show_progress,
    "/alerts": alerts.show_list,
    "/alerts/try": alerts.show_try,
    "/accounts": accounts.show_list,
    "/accounts/connect": connecting.show,
    "/account/{account}": accounts.show,
    "/account/{account}/service": services.show,
    "/account/{account}/settings": account_settings.show,
    "/rules": rules.show_list,
    "/rules/new": rule_form.show,
    "/rules/{number:row}": rule_form.show,
    "/plugins": plugins.show_list,
    "/activity": activity.show_list,
}
"""The pages, by path."""

CHANGES: Final[Mapping[str, Handler]] = {
    "/incidents/{number:row}/acknowledge": incidents.acknowledge,
    "/incidents/{number:row}/resolve": incidents.resolve,
    "/deliveries/{number:row}/replay": deliveries.replay,
    "/deliveries/{number:row}/discard": deliveries.discard,
    "/deliveries/all": deliveries.change_all,
    "/alerts/discard": alerts.discard,
    "/rules/new": rule_form.answer,
    "/rules/{number:row}": rule_form.answer,
    "/rules/{number:row}/switch": rules.switch,
    "/rules/{number:row}/move": rules.move,
    "/rules/{number:row}/delete": rules.delete,
    "/accounts/connect": connecting.connect,
    "/accounts/discovered": connecting.connect_chosen,
    "/account/{account}/disconnect": accounts.disconnect,
    "/account/{account}/test": service_test.run,
    "/account/{account}/service": services.save,
    "/account/{account}/settings": account_settings.save,
    "/account/{account}/rotate": services.rotate,
    "/account/{account}/retire": services.retire,
    "/account/{account}/remove": services.remove,
}
"""The forms that change something, by path; only operators may send them."""

_QUESTIONS: Final[Mapping[str, Handler]] = {"/alerts/try": alerts.explain}
"""Forms that change nothing, which viewers may send too."""


class _RowConvertor(IntegerConvertor):
    """Matches the number of a row; a longer one is the path of no page."""

    regex = f"[0-9]{{1,{DIGITS}}}"


register_url_convertor("row", _RowConvertor())


class Console:
    """The pages of the console, as ``routes`` for the HTTP application.

    Args:
        http: serves the routes.
        path: of the configuration.
        reload: reloads it; returns False if it has faults.
    """

    def __init__(self, http: HttpApp, path: Path, reload: Callable[[], bool]) -> None:
        self._http = http
        self._open_accounts = functools.partial(open_accounts, path)
        self._reload = reload
        self._access = Access()
        self._events = Events(http)
        self.routes = [
            Route("/", self._counted(self._root), methods=["GET"]),
            Route(PREFIX, self._counted(self._root), methods=["GET"]),
            Route(f"{PREFIX}/static/{{name}}", self._counted(self._static), methods=["GET"]),
            self._route(SIGN_IN, self._show_sign_in, "GET"),
            self._route(SIGN_IN, self._sign_in, "POST", present=self._sign_in_again),
            self._route("/sign-out", self._sign_out, "POST"),
            self._route("/events", self._stream, "GET"),
            Route(
                f"{PREFIX}{connecting.CALLBACK}", self._counted(self._installed), methods=["GET"]
            ),
            *(self._page(path, handler, "GET", Role.VIEWER) for path, handler in PAGES.items()),
            *(self._page(path, each, "POST", Role.VIEWER) for path, each in _QUESTIONS.items()),
            *(self._page(path, each, "POST", Role.OPERATOR) for path, each in CHANGES.items()),
            Route(f"{PREFIX}/{{path:path}}", self._counted(self._nothing)),
        ]

    def _counted(self, endpoint: Endpoint, present: Present | None = None) -> Endpoint:
        async def enabled(request: Request) -> Response:
            if not self._http.backend.table.console:
                raise Rejection(404, "path", "the console is off (http.console)")
            return await endpoint(request)

        return self._http.counted(PREFIX, enabled, present or _fault)

    def _route(
        self, path: str, endpoint: _Endpoint, method: str, present: Present | None = None
    ) -> Route:
        """Build a route whose endpoint also gets the session, and the form of a POST."""

        async def with_session(request: Request) -> Response:
            if method == "GET" and _comes_without_cookie(request):
                return HTMLResponse(
                    render("continue.html", {"url": _url(request)}), headers=HEADERS
                )
            table = self._http.backend.table
            threads = self._http.threads
            session = await threads.work(0, lambda: self._access.session(request, table))
            request.state.session = session
            fields = await self._form(request, session) if method == "POST" else {}
            response = await endpoint(request, session, fields)
            if session.is_new and "set-cookie" not in response.headers:
                set_cookie(response, session, table)
            return response

        url = f"{PREFIX}{path}"
        return Route(url, self._counted(with_session, present), methods=[method])

    async def _form(self, request: Request, session: Session) -> Mapping[str, str]:
        """Return the fields of a form that was sent from a page of the session."""
        reading = received(request, _FORM, self._http.threads, LARGEST_FORM, "of a form")
        async with reading as (body, _):
            try:
                fields = dict(
                    parse_qsl(
                        body.decode(),
                        keep_blank_values=True,
                        strict_parsing=bool(body),
                        max_num_fields=MOST_FIELDS,
                    )
                )
            except ValueError:  # UnicodeDecodeError too
                raise Rejection(400, "form", "the form cannot be read") from None
        check_form(session, fields)
        return fields

    def _page(self, path: str, handler: Handler, method: str, role: Role) -> Route:
        async def endpoint(
            request: Request, session: Session, fields: Mapping[str, str]
        ) -> Response:
            if session.role is Role.NONE:
                return _redirect(link(SIGN_IN, next=_url(request) if method == "GET" else ""))
            if role is Role.OPERATOR and session.role is not role:
                reason = "you signed in as a viewer; sign in with http.token to change something"
                raise Rejection(403, "viewer", reason)
            backend = self._http.backend
            view = self._view(backend, request, session, fields)
            build = functools.partial(self._respond, handler, view, request.url.path)
            return await self._http.threads.work(0, build)

        return self._route(path, endpoint, method)

    def _view(
        self, backend: Backend, request: Request, session: Session, fields: Mapping[str, str]
    ) -> View:
        return View(
            engine=backend.engine,
            configuration=backend.configuration,
            lanes=self._http.lanes,
            session=session,
            now=time.time(),
            query=dict(request.query_params),
            fields=fields,
            number=request.path_params.get("number", 0),
            account=request.path_params.get("account", ""),
            client=client_of(request),
            origin=backend.table.public_url or str(request.base_url).rstrip("/"),
            open_accounts=self._open_accounts,
            reload=self._reload,
            reload_errors=self._http.reload_errors,
        )

    def _respond(self, handler: Handler, view: View, path: str) -> Response:
        try:
            result = handler(view)
        except (AdminError, ConfigurationError) as error:
            raise Rejection(409, "refused", str(error)) from None
        except StoreError as error:
            reason, log = "the store cannot be read or written", f"the store fails: {error}"
            raise Rejection(503, "store_fails", reason, retry=True, error=log) from error
        if isinstance(result, Redirect):
            return _redirect(result.url)
        values = _common(view.session, self._http.backend.table, path, view.now)
        page = render(result.template, {**values, **result.values})
        return HTMLResponse(page, result.status, headers=HEADERS)

    async def _stream(
        self, _request: Request, session: Session, _fields: Mapping[str, str]
    ) -> Response:
        if session.role is Role.NONE:
            raise Rejection(403, "session", "the session is over; sign in again")
        return self._events.response()

    async def _installed(self, request: Request) -> Response:
        """Finish an install flow; the provider's redirect does not bring the session's cookie."""
        backend = self._http.backend
        if backend.table.token is None:
            check_host(request)
        view = self._view(backend, request, Session(Role.NONE, "", ""), {})
        build = functools.partial(self._respond, connecting.finish, view, request.url.path)
        response = await self._http.threads.work(0, build)
        response.headers.update(CALLBACK_HEADERS)
        return response

    async def _root(self, _request: Request) -> Response:
        return _redirect(f"{PREFIX}/")

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in MEDIA_TYPES:
            raise Rejection(404, "path", "there is no such file")
        headers = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
        return Response(static(name), headers=headers, media_type=MEDIA_TYPES[name])

    async def _nothing(self, _request: Request) -> Response:
        raise Rejection(404, "path", "there is no such page")

    async def _show_sign_in(
        self, request: Request, session: Session, _fields: Mapping[str, str]
    ) -> Response:
        if session.role is not Role.NONE:
            return _redirect(f"{PREFIX}/")
        return _sign_in_page(session, request.query_params.get("next", ""), "", 200)

    async def _sign_in(
        self, request: Request, _session: Session, fields: Mapping[str, str]
    ) -> Response:
        table, client = self._http.backend.table, client_of(request)
        token = fields.get("token", "")
        sign_in = functools.partial(self._access.sign_in, client, table, token)
        session = await self._http.threads.check(sign_in)
        await self._http.threads.work(0, lambda: self._note_sign_in(session, client))
        response = _redirect(_inside(fields.get("next", "")))
        set_cookie(response, session, table)
        return response

    def _note_sign_in(self, session: Session, client: str) -> None:
        actor = Actor(session.role, client)
        self._http.backend.engine.admin.record(actor, Change("signed in", "console"))

    async def _sign_out(
        self, _request: Request, _session: Session, _fields: Mapping[str, str]
    ) -> Response:
        response = _redirect(link(SIGN_IN))
        delete_cookie(response, self._http.backend.table)
        return response

    def _sign_in_again(self, request: Request, rejection: Rejection, status: int) -> Response:
        """Build the form to sign in again, with the reason."""
        session: Session | None = getattr(request.state, "session", None)
        if session is None:
            return _fault(request, rejection, status)
        response = _sign_in_page(session, "", rejection.reason, status)
        set_cookie(response, session, self._http.backend.table)
        return response


def _common(session: Session, table: HttpTable, path: str, now: float) -> dict[str, Any]:
    """Return the variables of every page."""
    inside = path.removeprefix(PREFIX)
    section = f"/{inside.split('/')[1]}"
    return {
        "csrf": session.csrf,
        "role": session.role,
        "may_act": session.role is Role.OPERATOR,
        "may_sign_out": table.token is not None,
        "navigation": [
            (link(url), name, url.rstrip("s") == section.rstrip("s")) for url, name in NAVIGATION
        ],
        "now": now,
    }


def _comes_without_cookie(request: Request) -> bool:
    """Check whether a link of another site was followed: no cookie is sent then, if there is one.

    The page is opened again from here. A new session would replace that of the browser.
    """
    return request.headers.get("sec-fetch-site") == "cross-site" and COOKIE not in request.cookies


def _url(request: Request) -> str:
    return f"{request.url.path}{'?' if request.url.query else ''}{request.url.query}"


def _redirect(url: str) -> Response:
    return RedirectResponse(url, 303, headers=HEADERS)


def _inside(url: str) -> str:
    """Return a URL of the console; that of the overview for one that leads elsewhere."""
    return url if url.startswith(f"{PREFIX}/") else f"{PREFIX}/"


def _fault(_request: Request, rejection: Rejection, status: int) -> Response:
    """Build the page of a request that is rejected."""
    values = {"title": _TITLES.get(status, "That was not accepted"), "reason": rejection.reason}
    return HTMLResponse(render("fault.html", values), status, headers=HEADERS)


def _sign_in_page(session: Session, asked: str, fault: str, status: int) -> Response:
    values = {"csrf": session.csrf, "next": asked, "fault": fault}
    return HTMLResponse(render("sign_in.html", values), status, headers=HEADERS)
