"""Fires an alert for each exception that a view of Flask does not handle."""

from __future__ import annotations

from typing import Any

from flask import Flask, got_request_exception, request

from alerthost_client.client import Client
from alerthost_client.integrations.reporter import Reporter
from alerthost_client.integrations.web import report


def init_app(app: Flask, client: Client, **options: Any) -> None:
    """Fire alerts for an application from now on; requests do not pass through it.

    Args:
        app: the application; keys begin with its name.
        client: hands the alerts over.
        options: ``repeat_after``, ``resolve_after`` and ``labels``, as ``Reporter`` takes them.
    """
    reporter = Reporter(client, **options)

    def receive(_: Flask, exception: BaseException, **__: object) -> None:
        rule = request.url_rule
        report(
            reporter,
            app.name,
            exception,
            method=request.method,
            path=request.path,
            route=None if rule is None else rule.rule,
        )

    got_request_exception.connect(receive, app, weak=False)
