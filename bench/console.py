"""The pages of the console on a SQLite store with a million deliveries and 100,000 incidents."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa
from figures import Figure, main

from alerthost.outbox.admin import Admin
from alerthost.outbox.admin_lists import DeliveryFilter, IncidentFilter
from alerthost.outbox.retry_policy import DeliveryState
from alerthost.outbox.submission import Note, SubmissionOutcome
from alerthost.store.database import Database
from hostspec.alert import Alert, Identity, Severity
from hostspec.delivery import Delivery, IncidentRef, Operation
from hostspec.plugins import load
from hostspec.values import to_json

DELIVERIES = 1_000_000
SERVICES = 20
DAYS = 30
MOST = 50
GOAL = 200.0
"""Milliseconds that a page may take."""

NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :most) SELECT"
"""The numbers from 1 to `most`, each as ``i``, for SQLite."""

INSERTS = (
    f"""INSERT INTO lanes (id, installation, destination, state)
    {NUMBERS} i, 'acme', 's' || i, 'healthy' FROM n WHERE i <= :services""",
    f"""INSERT INTO incidents (id, lane_id, action, installation, destination, correlation_key,
    active, state, severity, rules, follow_ups, may_be_open, trigger_delivered, unconfirmed,
    orphaned, opened_at, changed_at, version, digest, summary)
    {NUMBERS} i, i % :services + 1, 'pagerduty.trigger', 'acme', 's' || (i % :services + 1),
    'db-' || i, i % 5 = 0, CASE WHEN i % 5 THEN 'resolved' ELSE 'triggered' END,
    CASE WHEN i % 3 THEN 'error' ELSE 'critical' END, '[]', '[]', i % 5 = 0, 1, 0, i % 1000 = 1,
    :start + i * :each * 10, :start + i * :each * 10, 1, 'd' || i, 'Disk full on db-' || i
    FROM n WHERE i <= :incidents""",
    f"""INSERT INTO deliveries (id, uid, incident_id, lane_id, channel, submission_id, operation,
    severity, body, state, position, is_head, urgency, due, accepted_at, attempts, outcome, reason,
    finished_at)
    {NUMBERS} i, 'u' || i, i / 10 % :incidents + 1, (i / 10 % :incidents + 1) % :services + 1,
    'pagerduty.trigger ', 's' || i, 'trigger', 'error', :body, CASE WHEN i % 100 = 0 THEN 'rejected'
    WHEN i % 100 = 1 THEN 'coalesced' WHEN i > :most - 10000 THEN 'queued' ELSE 'delivered' END,
    1, i > :most - 10000, 0, 0, :start + i * :each, 1, '', '',
    CASE WHEN i > :most - 10000 AND i % 100 > 1 THEN NULL ELSE :start + i * :each END FROM n""",
    f"""INSERT INTO submissions (id, submission_id, scope, key, body, accepted_at, planned_at, note,
    size, outcome)
    {NUMBERS} i, 's' || i, '', 'db-' || i, :alert, :start + i * :each, :start + i * :each,
    :note, 100, CASE WHEN i % 50 THEN '' ELSE 'unmatched' END FROM n WHERE i <= :incidents""",
    f"""INSERT INTO activity (at, actor, source, change, subject, before, after)
    {NUMBERS} :start + i, 'operator', '127.0.0.1', 'resolved', 'incident ' || i, '', ''
    FROM n WHERE i <= :incidents""",
)


def fill(database: Database, count: int) -> None:
    """Fill an empty database."""
    ref = IncidentRef("pagerduty.trigger", "acme", "s1", "db-1")
    delivery = Delivery(Operation.TRIGGER, ref, Identity("", "db-1"), Severity.ERROR)
    values = {
        "services": SERVICES,
        "incidents": count // 10,
        "most": count,
        "body": json.dumps(to_json(delivery)),
        "alert": json.dumps(to_json(Alert("db-1", "Disk full"))),
        "note": json.dumps(to_json(Note())),
        "start": time.time() - DAYS * 86_400,
        "each": DAYS * 86_400 / count,
    }
    with database.begin() as connection:
        for text in INSERTS:
            insert = sa.text(text)
            connection.execute(insert, {name: values[name] for name in insert.compile().params})


def lists_of(admin: Admin) -> dict[str, Callable[[], object]]:
    """Return what reads each list, at its beginning and at its end."""
    lists, service, other = admin.lists, ("acme", "s7"), ("acme", "x")
    pages: dict[str, Callable[[], object]] = {
        "overview": lambda: (lists.services(), lists.open_incidents(), admin.unsettled()),
        "marker": lists.marker,
        "one incident": lambda: (lists.incident(7), lists.history(7, None, MOST)),
    }
    for after in (None, MOST):
        at = "" if after is None else ", at the end"
        pages[f"activity{at}"] = lambda after=after: lists.activity(after, MOST)
        for outcome in (None, *SubmissionOutcome):
            pages[f"alerts: {outcome or 'all'}{at}"] = lambda outcome=outcome, after=after: (
                lists.submissions(outcome, after, MOST)
            )
        for which in (
            IncidentFilter(),
            IncidentFilter(active=False),
            IncidentFilter(orphaned=True),
            *(IncidentFilter(active=False, service=each) for each in (service, other)),
            *(IncidentFilter(active=False, text=each) for each in ("DB-77777", "nothing")),
            IncidentFilter(active=False, severity=Severity.DEBUG),
        ):
            pages[f"incidents: {which}{at}"] = lambda which=which, after=after: lists.incidents(
                which, after, MOST
            )
        for state in (None, *DeliveryState):
            for each in (None, service, other):
                selected = DeliveryFilter(state, service=each)
                pages[f"deliveries: {selected}{at}"] = lambda selected=selected, after=after: (
                    lists.deliveries(selected, after, MOST)
                )
    blocked = DeliveryFilter(DeliveryState.QUEUED, blocked=True)
    pages["deliveries: blocked"] = lambda: lists.deliveries(blocked, None, MOST)
    rejected = DeliveryFilter(DeliveryState.REJECTED, service=service)
    pages["deliveries: count"] = lambda: lists.count(rejected)
    return pages


def milliseconds(page: Callable[[], object]) -> float:
    """Return the CPU time of reading a page that was read before."""
    page()
    before = time.process_time()
    page()
    return (time.process_time() - before) * 1000


def measure(quick: bool) -> Iterator[Figure]:  # noqa: FBT001 -- see `figures.Measure`
    with (
        tempfile.TemporaryDirectory() as folder,
        Database("sqlite:///console.db", Path(folder)) as database,
    ):
        database.migrate()
        fill(database, 10_000 if quick else DELIVERIES)
        pages = lists_of(Admin(database, load(["pagerduty"]), time.time))
        took = {name: milliseconds(page) for name, page in pages.items()}
    slowest = max(took, key=took.__getitem__)
    yield Figure("CPU of the console's overview (ms)", took["overview"], at_most=GOAL)
    yield Figure(f"CPU of the slowest of {len(took)} lists (ms)", took[slowest], at_most=GOAL)
    print(f"slowest list: {slowest}", file=sys.stderr)


if __name__ == "__main__":
    main(measure)
