"""Alerts that come to no delivery are logged, counted and listed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from engines import EITHER, World
from recorder import rule_of

from alerthost.outbox.submission import Note, Submission, SubmissionOutcome
from hostspec import Alert, Delivery, Suppression
from hostspec.plugins import Rule
from hostspec.plugins.isolation import FAILURES
from hostspec.plugins.limited_log import LOG_AGAIN

Worlds = Callable[..., World]


def is_for_somebody(alert: Alert) -> bool:
    return not alert.key.startswith("stray")


def rules(plugins: Any) -> Sequence[Rule]:
    return [rule_of(plugins, matches=is_for_somebody)]


def ask_the_plugin(world: World) -> None:
    """Make the plugin suppress "mute", and fail to plan "broken" and "nonsense"."""
    plan = world.page.plan

    def planned(alert: Alert, *rest: Any, **options: Any) -> Sequence[Delivery | Suppression]:
        if alert.key.startswith("mute"):
            return [Suppression("pager.page", "acme", "quiet hours", "night-shift", ("Pages",))]
        if alert.key.startswith("broken"):
            message = "this text may be a secret"
            raise RuntimeError(message)
        return [None] if alert.key == "nonsense" else plan(alert, *rest, **options)  # type: ignore[list-item]

    world.page.plan = planned  # type: ignore[method-assign, assignment]


def listed(world: World, outcome: str) -> list[str]:
    return [each.alert.key for each in world.engine.admin.unsent(SubmissionOutcome(outcome))]


@EITHER
def test_submissions_without_deliveries_are_listed_by_outcome(worlds: Worlds) -> None:
    world = worlds(rules=rules)
    ask_the_plugin(world)
    for key in ("stray", "mute", "broken", "nonsense", "disk", "stray-2"):
        world.accept(key)

    assert world.drain() == ["trigger disk"]
    assert listed(world, "unmatched") == ["stray-2", "stray"]
    assert listed(world, "suppressed") == ["mute"]
    assert listed(world, "failed") == ["nonsense", "broken"]
    assert listed(world, "dead") == []
    newest = world.engine.admin.unsent(SubmissionOutcome.UNMATCHED, most=1)
    assert [each.alert.key for each in newest] == ["stray-2"]


def test_each_cause_is_logged_once_a_minute(
    worlds: Worlds, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    world = worlds(rules=rules)
    world.engine._planned_log._log._clock = lambda: now
    ask_the_plugin(world)
    for number in range(1, 4):
        for key in ("stray", "mute", "broken"):
            world.accept(f"{key}-{number}")
    world.drain()

    logged = [(level, text) for name, level, text in caplog.record_tuples if "planning" in name]
    broken = logged.pop()[1]
    assert broken.startswith("alert broken-1: rule 'Pages': the action pager.page could not plan:")
    assert "secret" not in broken
    assert logged == [
        (logging.WARNING, "alert stray-1: unmatched: no rule matches, nothing is sent"),
        (logging.WARNING, "alert mute-1: pager.page acme: suppressed by night-shift: quiet hours"),
    ]
    caplog.clear()
    now += LOG_AGAIN
    world.drain()
    assert [text.partition(":")[0] for text in caplog.messages] == [
        "2 more like this were not logged"
    ] * 3


@EITHER
def test_follow_ups_without_an_open_incident_are_listed_and_logged(
    worlds: Worlds, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hostspec.planning")
    now = 0.0
    world = worlds(rules=rules)
    world.engine._planned_log._log._clock = lambda: now
    for _ in range(3):
        world.accept("disk", "resolved")
    world.accept("stray", "resolved")
    world.accept("cpu", "acknowledged", scope="prod")

    assert world.drain() == []
    assert listed(world, "no incident") == ["cpu", "stray", "disk", "disk", "disk"]
    assert listed(world, "unmatched") == []
    start = "nothing is sent: no open incident"
    assert caplog.messages == [
        f"alert disk: {start}, and the alert is not known here",
        f"alert disk: {start}",
        f"alert prod/cpu: {start}",
    ]
    caplog.clear()
    now += LOG_AGAIN
    world.drain()
    assert caplog.messages == [
        f"1 more like this were not logged: alert disk: {start}, and the alert is not known here",
        f"1 more like this were not logged: alert disk: {start}",
    ]


def test_a_host_can_watch_each_planned_submission(worlds: Worlds) -> None:
    reported: list[tuple[str, str | None]] = []

    def watch(submission: Submission, note: Note) -> None:
        reported.append((submission.identity.key, note.outcome))

    world = worlds(rules=rules, watch_planned=watch)
    ask_the_plugin(world)
    for key in ("stray", "mute", "broken", "disk"):
        world.accept(key)
    world.drain()

    assert reported == [
        ("stray", "unmatched"),
        ("mute", "suppressed"),
        ("broken", "failed"),
        ("disk", None),
    ]


@pytest.mark.parametrize("key", ["broken", "nonsense"])
def test_actions_that_fail_are_counted_by_method(worlds: Worlds, key: str) -> None:
    def count() -> int:
        return FAILURES.counts().get(("pager.page", "plan"), 0)

    world = worlds(rules=rules)
    ask_the_plugin(world)
    before = count()
    world.accept(key)
    world.drain()
    assert count() == before + 1


def test_a_suppression_without_a_plugin_name_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.page.behaviour["plan"] = lambda _: [Suppression("pager.page", "acme", "quiet")]
    world.accept("mute")
    world.drain()
    assert caplog.messages == ["alert mute: pager.page acme: suppressed: quiet"]
