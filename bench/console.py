"""Times the pages of the console on a SQLite store with a million deliveries.

Usage: python bench/console.py [DELIVERIES]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from alerthost.outbox.admin import Admin
from alerthost.outbox.admin_lists import DeliveryFilter, IncidentFilter
from alerthost.outbox.retry_policy import DeliveryState
from alerthost.outbox.serialisation import dump_delivery
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
GOAL = 0.2
"""Seconds that a page may take."""

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
    f"""INSERT INTO deliveries (id, uid, incident_id, lane_id, submission_id, operation, severity,
    body, state, position, is_head, urgency, due, accepted_at, attempts, outcome, reason,
    finished_at)
    {NUMBERS} i, 'u' || i, i / 10 % :incidents + 1, (i / 10 % :incidents + 1) % :services + 1,
    's' || i, 'trigger', 'error', :body, CASE WHEN i % 100 = 0 THEN 'rejected'
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
    values = {
        "services": SERVICES,
        "incidents": count // 10,
        "most": count,
        "body": dump_delivery(
            Delivery(Operation.TRIGGER, ref, Identity("", "db-1"), Severity.ERROR)
        ),
        "alert": json.dumps(to_json(Alert("db-1", "Disk full"))),
        "note": json.dumps(to_json(Note())),
        "start": time.time() - DAYS * 86_400,
        "each": DAYS * 86_400 / count,
    }
    with database.begin() as connection:
        for text in INSERTS:
            insert = sa.text(text)
            connection.execute(insert, {name: values[name] for name in insert.compile().params})


def measure(name: str, page: Callable[[], object]) -> bool:
    """Print the CPU time of a page; return whether it meets the goal."""
    page()
    before = time.process_time()
    page()
    took = time.process_time() - before
    print(f"{name:42} {took * 1000:7.1f} ms {'' if took < GOAL else 'TOO SLOW'}")
    return took < GOAL


def main() -> None:
    """Fill a store, and time each list at its beginning and at its end."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else DELIVERIES
    with (
        tempfile.TemporaryDirectory() as folder,
        Database("sqlite:///console.db", Path(folder)) as database,
    ):
        database.migrate()
        fill(database, count)
        admin = Admin(database, load(["pagerduty"]), time.time)
        lists = admin.lists
        service = ("acme", "s7")
        pages: dict[str, Callable[[], object]] = {
            "overview: services": lists.services,
            "overview: open incidents": lists.open_incidents,
            "overview: states": admin.unsettled,
            "incident": lambda: (lists.incident(7), lists.history(7, None, 20)),
            "activity": lambda: lists.activity(None, MOST),
            "activity, last page": lambda: lists.activity(MOST, MOST),
            "alerts": lambda: lists.submissions(None, None, MOST),
            "alerts, last page": lambda: lists.submissions(None, MOST, MOST),
            "alerts, suppressed": lambda: lists.submissions(
                SubmissionOutcome.SUPPRESSED, None, MOST
            ),
            "alerts, unmatched": lambda: lists.submissions(SubmissionOutcome.UNMATCHED, None, MOST),
        }
        for name, which in {
            "open": IncidentFilter(),
            "ended": IncidentFilter(active=False),
            "orphaned": IncidentFilter(orphaned=True),
            "ended, of a service": IncidentFilter(active=False, service=service),
            "ended, of no service": IncidentFilter(active=False, service=("acme", "x")),
            "ended, with a text": IncidentFilter(active=False, text="DB-77777"),
            "ended, with no such text": IncidentFilter(active=False, text="nothing"),
            "ended, of no severity": IncidentFilter(active=False, severity=Severity.DEBUG),
        }.items():
            pages[f"incidents: {name}"] = lambda which=which: lists.incidents(which, None, MOST)
            pages[f"incidents: {name}, last page"] = lambda which=which: lists.incidents(
                which, 100, MOST
            )
        for state in (None, *DeliveryState):
            for at in (None, service, ("acme", "x")):
                which = DeliveryFilter(state, service=at)
                name = f"deliveries: {state or 'all'}{' of ' + at[1] if at else ''}"
                pages[name] = lambda which=which: lists.deliveries(which, None, MOST)
                pages[f"{name}, last page"] = lambda which=which: lists.deliveries(which, 500, MOST)
        blocked = DeliveryFilter(DeliveryState.QUEUED, blocked=True)
        pages["deliveries: blocked"] = lambda: lists.deliveries(blocked, None, MOST)
        rejected = DeliveryFilter(DeliveryState.REJECTED, service=service)
        pages["deliveries: count of rejected"] = lambda: lists.count(rejected)
        good = [measure(name, page) for name, page in pages.items()]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
