"""One lane meets every misbehaviour that the fake knows, while another lane goes on."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alerthost.outbox import selection
from alerthost.outbox.engine import Engine
from alerthost.store.database import Database
from hostspec import Alert
from hostspec.plugins import Rule, load
from pagerduty_plugin.testing import FakePagerDuty, misbehaviour
from pagerduty_plugin.testing.misbehaviour import Gate, Misbehaviour

BAD, GOOD = "bad" + "0" * 29, "600d" + "0" * 28
COUNT = 6

KINDS: dict[str, Callable[[Gate], Misbehaviour]] = {
    "late": misbehaviour.late,
    "taken late": lambda gate: misbehaviour.late(gate, processed="late"),
    "dripping": lambda _: misbehaviour.dripping(seconds=0.01),
    "closing": lambda _: misbehaviour.closing(),
    "truncated": lambda _: misbehaviour.truncated(),
    "reset unread": lambda _: misbehaviour.reset_unread(),
    "reset": lambda _: misbehaviour.reset(),
    "reset, and taken": lambda _: misbehaviour.reset(processed="at once"),
    "garbage": lambda _: misbehaviour.garbage(),
    "garbage, and taken": lambda _: misbehaviour.garbage(processed="at once"),
    "throttling": lambda _: misbehaviour.throttling(),
    "throttling for a while": lambda _: misbehaviour.throttling(retry_after="30"),
    "throttling for ever": lambda _: misbehaviour.throttling(retry_after="99999999"),
    "failing": lambda _: misbehaviour.failing(),
    "failing, and taken": lambda _: misbehaviour.failing(503, processed="at once"),
    "refusing": lambda _: misbehaviour.refusing(),
    "captive portal": lambda _: misbehaviour.captive_portal(),
    "redirecting": lambda _: misbehaviour.redirecting("http://127.0.0.1:9/"),
    "accepting without JSON": lambda _: misbehaviour.accepting_without_json(),
}

TAKEN = {"closing", "dripping", "truncated", "accepting without JSON"}
"""The deliveries to the failing lane arrive all the same."""


class Time:
    """The real time; a test may add a jump."""

    jumped = 0.0

    def __call__(self) -> float:
        return time.time() + self.jumped


@pytest.fixture
def fakes() -> Iterator[tuple[FakePagerDuty, FakePagerDuty]]:
    services = {"bad": BAD, "good": GOOD}
    with FakePagerDuty(services=services) as one, FakePagerDuty(services=services) as two:
        yield one, two


def engine_at(folder: Path, bad: FakePagerDuty, good: FakePagerDuty, clock: Time) -> Engine:
    """Make an engine with few workers that sends each alert to a service of one of the fakes."""
    plugins = load(["pagerduty"])
    services = [{"name": "bad", "integration_key": BAD}, {"name": "good", "integration_key": GOOD}]
    rules = []
    for team, fake in (("bad", bad), ("good", good)):
        name = "acme" if bad is good else team
        settings = {"base_url": fake.url, "services": services}
        account = plugins.installation("pagerduty", name, settings)
        page = plugins.rule_action("pagerduty.trigger", account, {"services": [team]})
        rules.append(Rule(team, [page], lambda alert, team=team: alert.key.startswith(team)))
    database = Database("sqlite:///alerthost.db", folder)
    return Engine(database, plugins, rules, workers=4, clock=clock)


def test_every_misbehaviour_is_tried() -> None:
    made = {kind(Gate()).name.partition(" ")[0] for kind in KINDS.values()}
    offered = {
        name.partition("_")[0]
        for name, member in vars(misbehaviour).items()
        if inspect.isfunction(member)
        and member.__module__ == misbehaviour.__name__
        and not name.startswith("next_")
    }
    assert made == offered


@pytest.mark.parametrize("kind", KINDS)
def test_a_failing_lane_delays_no_other(
    kind: str, tmp_path: Path, fakes: tuple[FakePagerDuty, FakePagerDuty]
) -> None:
    gate, clock = Gate(), Time()
    how = KINDS[kind](gate)
    # whose request it is, a fake does not know before it reads it
    apart = how.wire == "unread reset"
    bad, good = fakes if apart else (fakes[0], fakes[0])
    script = bad.misbehave(how, key=None if apart else BAD)
    engine = engine_at(tmp_path, bad, good, clock)
    with engine:
        troubled = [engine.accept(Alert(f"bad {number}")) for number in range(COUNT)]
        healthy = [engine.accept(Alert(f"good {number}")) for number in range(COUNT)]
        statuses = engine.wait(healthy, 60)
        # the bad lane came first, and is in trouble still
        assert [status.entries[0].state for status in statuses] == ["delivered"] * COUNT
        assert sum(incident.service == "good" for incident in good.incidents) == COUNT
        waiting = [status.entries for status in engine.admin.statuses(troubled)]
        if kind not in TAKEN and kind != "refusing":
            assert "delivered" not in {each.state for entries in waiting for each in entries}

        script.clear()
        gate.open()
        clock.jumped = 400.0
        while engine.admin.backlog().queued:
            engine.wait(troubled, 60)
    wanted = {"rejected", "delivered"} if kind == "refusing" else {"delivered"}
    states = {each.state for status in engine.admin.statuses(troubled) for each in status.entries}
    assert states <= wanted
    if kind != "refusing":
        assert sum(incident.service == "bad" for incident in bad.incidents) == COUNT
    engine.database.close()


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_step_while_workers_run_breaks_no_guarantee(
    hours: int, tmp_path: Path, fakes: tuple[FakePagerDuty, FakePagerDuty]
) -> None:
    """The clock steps during an attempt, and while other deliveries wait for a retry or pause."""
    gate, clock = Gate(), Time()
    fake, _ = fakes
    fake.misbehave(misbehaviour.late(gate), times=1, key=GOOD)
    fake.misbehave(misbehaviour.throttling(retry_after="200"), times=1, key=BAD)
    engine = engine_at(tmp_path, fake, fake, clock)
    keys = [f"{team} {number}" for team in ("good", "bad") for number in range(COUNT)]
    with engine:
        first = [engine.accept(Alert(key)) for key in keys]
        fake.wait_for(lambda seen: {BAD, GOOD} <= keys_seen(seen), timeout=60)
        clock.jumped += 3600 * hours
        gate.open()
        last = [engine.accept(Alert(key, status="resolved")) for key in keys]
        engine.wait([*first, *last], 5)
        clock.jumped += 400
        while engine.admin.backlog().queued or engine.admin.backlog().pending:
            clock.jumped += 1  # unconfirmed incidents are resolved again a minute later
            engine.wait([*first, *last], 60)

    assert all(incident.state == "resolved" for incident in fake.incidents)
    assert len(fake.incidents) == len(keys)
    states = {each.state for each in engine.admin.deliveries(most=1000)}
    assert states <= {"delivered", "coalesced"}
    engine.database.close()


def keys_seen(fake: FakePagerDuty) -> set[str]:
    arrived = [request for request in fake.requests if request.body]  # not the headers alone
    return {str(request.json()["routing_key"]) for request in arrived}


def test_a_lane_filled_by_other_workers_has_no_room() -> None:
    row: Any = SimpleNamespace(attempts=0, failures=0, channel_id=None)
    lane = selection.Lane(1, room=4, in_flight=[(1, None)] * 3, slow=False)
    assert lane.may_start(row, 2)
    lane.select(row)
    assert not lane.may_start(row, 2)
