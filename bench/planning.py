"""Planning by the rule of a file: alerts that it sends to two PagerDuty services, and others.

Alerts are accepted before. Almost nothing is sent: the provider throttles its first attempts.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
from collections.abc import Iterator

from figures import Figure, main
from files import engine_from, write
from measuring import Usage, accept, alert, using

from hostspec import Outcome, OutcomeKind

TEAMS = {"matched by one rule to two services": "data", "unmatched": "web"}


def throttle(*_: object) -> Outcome:
    return Outcome(OutcomeKind.THROTTLED, retry_after=600.0)


def planned(team: str, count: int) -> tuple[Usage, Usage]:
    """Return what accepting and planning alerts of a team uses."""
    with (
        tempfile.TemporaryDirectory() as folder,
        engine_from(write(folder)) as (engine, plugins),
    ):
        plugins.actions["pagerduty.trigger"].send = throttle  # type: ignore[method-assign]
        alerts = [alert(number, labels={"team": team}) for number in range(count)]
        with using(engine.database) as accepting:
            accept(engine, alerts)
        with using(engine.database) as planning:
            engine.drain()
        backlog = engine.admin.backlog()
        assert not backlog.pending
        assert backlog.queued == (2 * count if team == "data" else 0)
    return accepting, planning


def measure(quick: bool) -> Iterator[Figure]:  # noqa: FBT001 -- see `figures.Measure`
    count, rounds = (50, 1) if quick else (4000, 3)
    logging.getLogger("hostspec.planning").setLevel(logging.ERROR)  # unmatched alerts are warnings
    used = {name: [planned(team, count) for _ in range(rounds)] for name, team in TEAMS.items()}
    for (name, each), goal in zip(used.items(), (2000, 4000), strict=True):
        rate = count / statistics.median(planning.seconds for _, planning in each)
        cpu = statistics.median(planning.cpu for _, planning in each)
        yield Figure(f"planned/s, SQLite, {name}", rate, at_least=goal)
        yield Figure(f"CPU of planning one (ms), SQLite, {name}", cpu / count * 1000)
    both = statistics.median(one.cpu + other.cpu for one, other in used["unmatched"])
    yield Figure(
        "CPU of accepting and planning one (ms), unmatched", both / count * 1000, at_most=0.3
    )


if __name__ == "__main__":
    main(measure)
