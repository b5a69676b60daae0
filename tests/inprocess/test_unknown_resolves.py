"""Resolves of alerts that the host does not know: sent where a rule asks for it, and not often."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from recorder import Hanging, Page, acknowledged, firing, plugins_of, resolved, rule_of
from waiting import wait_until

import hostspec.inprocess.memory
from hostspec import Alert, OutcomeKind
from hostspec.inprocess import Host
from hostspec.inprocess.memory import IncidentMemory
from hostspec.plugins import Rule
from hostspec.plugins.planning import RESOLVED_FOR


def host_of(page: Page, matches: Callable[[Alert], bool] = lambda _: True) -> Host:
    """Return a host that sends the resolves of unknown alerts."""
    plugins = plugins_of(page)
    rule = rule_of(plugins)
    return Host(plugins, [Rule(rule.name, rule.actions, matches, resolve_unknown=True)])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time that the memory of a host reads, to be changed."""
    now = [1000.0]

    class Time:
        monotonic = staticmethod(lambda: now[0])

    monkeypatch.setattr(hostspec.inprocess.memory, "time", Time)
    return now


def test_resolve_goes_where_the_rule_says() -> None:
    page = Page()
    host = host_of(page)

    host.handle(acknowledged())
    report = host.handle(resolved())

    assert report.delivered
    assert [(sent.operation, sent.key, sent.handle) for sent in page.sent] == [
        ("resolve", "disk", None)
    ]


def test_three_hundred_successes_send_one_resolve() -> None:
    page = Page()
    host = host_of(page)

    reports = [host.handle(resolved()) for _ in range(300)]

    assert page.operations == ["resolve"]
    assert str(reports[-1]) == "nothing to send"


def test_simultaneous_successes_send_one_resolve() -> None:
    page, planned = Page(), []
    hanging = Hanging(page)
    host = host_of(page, lambda alert: planned.append(alert) is None)

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(host.handle, resolved()) for _ in range(8)]
        wait_until(lambda: len(planned) == 8)
        hanging.go_on.set()
        for call in calls:
            call.result(60)

    assert page.operations == ["resolve"]


def test_failed_resolve_is_sent_again() -> None:
    page = Page()
    page.outcomes.append(OutcomeKind.THROTTLED)
    host = host_of(page)

    reports = [host.handle(resolved()) for _ in range(3)]

    assert [report.delivered for report in reports] == [False, True, False]
    assert page.operations == ["resolve", "resolve"]


def test_resolve_after_a_failure_among_successes_closes_it() -> None:
    page = Page()
    host = host_of(page)

    for alert in (resolved(), firing(), resolved(), resolved()):
        host.handle(alert)

    assert page.operations == ["resolve", "trigger", "resolve"]


def test_resolve_is_sent_again_after_a_while(clock: list[float]) -> None:
    """Another process may have opened an incident meanwhile."""
    page = Page()
    host = host_of(page)

    host.handle(resolved())
    clock[0] += RESOLVED_FOR
    host.handle(resolved())
    assert page.operations == ["resolve"]
    clock[0] += 1
    host.handle(resolved())
    host.handle(resolved())

    assert page.operations == ["resolve", "resolve"]


def test_memory_of_resolves_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostspec.inprocess.host.IncidentMemory", lambda: IncidentMemory(most=2))
    page = Page()
    host = host_of(page)

    for key in "abcacb":
        host.handle(resolved(key))

    assert [sent.key for sent in page.sent] == ["a", "b", "c", "a", "b"]
