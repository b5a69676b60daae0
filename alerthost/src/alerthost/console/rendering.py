"""Renders pages from templates, which escape every value."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import jinja2
from markupsafe import Markup

from hostspec.text import shorten

PREFIX: Final = "/console"
"""The path of all pages."""

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""The headers of each response."""

MEDIA_TYPES: Final = {
    "console.css": "text/css; charset=utf-8",
    "rule.js": "text/javascript; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""The static files, with their types."""

LONGEST_BODY: Final = 20_000
"""Characters of a JSON text that a page shows."""

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"))


@functools.cache
def static(name: str) -> bytes:
    """Return a static file."""
    return importlib.resources.files("alerthost.console").joinpath("static", name).read_bytes()


@functools.cache
def _version(name: str) -> str:
    return hashlib.sha256(static(name)).hexdigest()[:12]


def static_url(name: str) -> str:
    """Return the URL of a static file; it changes with the content, so that it may be cached."""
    return f"{PREFIX}/static/{name}?v={_version(name)}"


def duration(seconds: float) -> str:
    """Return a number of seconds in the largest unit that fits."""
    for unit, name in _UNITS:
        if seconds >= unit:
            return f"{int(seconds // unit)} {name}"
    return f"{int(max(0.0, seconds))} s"


def when(moment: float, now: float) -> Markup:
    """Return a moment relative to now, with the absolute time on hover."""
    relative = f"in {duration(moment - now)}" if moment > now else f"{duration(now - moment)} ago"
    return _time(moment, relative)


def lasting(since: float, now: float) -> Markup:
    """Return the duration since a moment, with its absolute time on hover."""
    return _time(since, duration(now - since))


def _time(moment: float, text: str) -> Markup:
    absolute = dt.datetime.fromtimestamp(moment, dt.UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        absolute.isoformat(timespec="seconds"), f"{absolute:%Y-%m-%d %H:%M:%S} UTC", text
    )


def pretty(value: object) -> str:
    """Return JSON as text on several lines; a long one is cut."""
    return shorten(json.dumps(value, ensure_ascii=False, indent=2), LONGEST_BODY)


def link(path: str, **query: object) -> str:
    """Return the URL of a page of the console; empty values are left out."""
    given = {name: value for name, value in query.items() if value not in {None, ""}}
    return f"{PREFIX}{quote(path)}{'?' if given else ''}{urlencode(given)}"


def counted(count: int, word: str) -> str:
    """Return a count and its word in the right number."""
    if count == 1:
        return f"1 {word}"
    plural = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
    return f"{count:,} {plural}"


def render(template: str, values: Mapping[str, Any]) -> str:
    """Render a page."""
    return _environment().get_template(template).render(values)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("alerthost.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["pretty"] = pretty
    environment.globals.update(link=link, static=static_url, counted=counted)
    environment.globals.update(when=when, lasting=lasting)
    return environment
