"""A middleware of Django that fires an alert for each exception that a view does not handle."""

from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.signals import got_request_exception
from django.utils.decorators import sync_and_async_middleware

from alerthost_client.client import Client
from alerthost_client.integrations.reporter import Reporter
from alerthost_client.integrations.web import report

_OF_REPORTER = ("repeat_after", "resolve_after", "labels")


@sync_and_async_middleware  # type: ignore[untyped-decorator]
def alert_middleware(get_response: Any) -> Any:
    """Fire alerts from now on; requests do not pass through it.

    ``settings.ALERTHOST`` may have arguments of ``Client.from_env`` and of ``Reporter``. Keys begin
    with the package of ``settings.ROOT_URLCONF``.
    """
    options = dict(getattr(settings, "ALERTHOST", {}))
    of_reporter = {name: options.pop(name) for name in _OF_REPORTER if name in options}
    reporter = Reporter(Client.from_env(**options), **of_reporter)
    name = settings.ROOT_URLCONF.partition(".")[0]

    def receive(request: Any, **_: object) -> None:
        match = request.resolver_match
        report(
            reporter,
            name,
            sys.exc_info()[1],
            method=request.method,
            path=request.path,
            route=match and match.route,
        )

    # one identity: a program that makes several handlers, as a test does, reports once
    got_request_exception.connect(receive, weak=False, dispatch_uid="alerthost_client")
    return get_response
