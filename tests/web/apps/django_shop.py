"""A shop of Django, in one module."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import Http404, HttpResponse
from django.urls import path

WINDOW = float(os.environ["WINDOW"])


def order(request: Any, number: int) -> HttpResponse:
    if number == 404:
        raise Http404
    if number:
        raise ValueError(f"order {number}")
    return HttpResponse("fine")


def refuse_robots(get_response: Any) -> Any:
    def middleware(request: Any) -> HttpResponse:
        if request.path == "/robots.txt":
            raise LookupError("no robots")
        return get_response(request)

    return middleware


urlpatterns = [path("orders/<int:number>/", order)]
settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    ALERTHOST={"repeat_after": WINDOW, "resolve_after": 600},
    MIDDLEWARE=[
        "alerthost_client.integrations.django.alert_middleware",
        f"{__name__}.refuse_robots",
    ],
)

import django  # noqa: E402

django.setup()
app = WSGIHandler()
asgi = ASGIHandler()
