"""The code of an author who extends PagerDuty's events, for type checkers. Never run.

The functions have the types of the specifications, or take fewer arguments.
"""

# ruff: noqa: ARG001 -- unused arguments have types, too

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import assert_type

from hostspec import Alert, Image, Json, Link, Repair, hookimpl
from pagerduty_plugin import Enrich, Suppress
from pagerduty_plugin.hookspecs import PagerDutySpec


@hookimpl
def pagerduty_severity(alert: Alert, severity: str, installation: str, rule: str) -> str | None:
    return "critical" if alert.labels.get("tier") == "gold" else None


@hookimpl(optionalhook=True)
def pagerduty_dedup_key(alert: Alert) -> str | None:
    return alert.labels.get("cluster")


@hookimpl(tryfirst=True)
def pagerduty_services(
    alert: Alert, services: Sequence[str], chosen: Sequence[str], installation: str, rule: str
) -> Sequence[str] | Suppress | None:
    if alert.labels.get("quiet"):
        return Suppress("quiet hours")
    return [name for name in services if name not in chosen]


@hookimpl
def pagerduty_enrich(
    alert: Alert, severity: str, services: Sequence[str], installation: str, rule: str
) -> Enrich | None:
    added = Enrich(
        details={"services": services, "load": object()},
        links=[Link("https://a.example.com"), {"href": "https://b.example.com"}, "https://c"],
        images=(Image("https://a.example.com/a.png"),),
    )
    assert_type(added.details, Mapping[str, Json])
    assert_type(added.links, tuple[Link, ...])
    assert_type(added.images, tuple[Image, ...])
    assert_type(added.repairs, tuple[Repair, ...])
    return added


assert_type(Suppress("why").reason, str)

# a function that takes all arguments is what its specification says
spec = PagerDutySpec()
severity: Callable[[Alert, str, str, str], str | None] = spec.pagerduty_severity
severity = pagerduty_severity
services: Callable[
    [Alert, Sequence[str], Sequence[str], str, str], Sequence[str] | Suppress | None
] = spec.pagerduty_services
services = pagerduty_services
enrich: Callable[[Alert, str, Sequence[str], str, str], Enrich | None] = spec.pagerduty_enrich
enrich = pagerduty_enrich
