"""Builds expected heartbeats from their tables."""

from __future__ import annotations

from alerthost.config.durations import parse_duration
from alerthost.config.matchers import Matcher, Matching, parse_matchers
from alerthost.config.tables import HeartbeatTable
from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat
from hostspec.alert import Severity
from hostspec.errors import Fault


def build_heartbeat(table: HeartbeatTable) -> tuple[ExpectedHeartbeat, list[Fault]]:
    """Build an expected heartbeat without the faulty matchers; return their faults too."""
    faults: list[Fault] = []
    matchers: list[Matcher] = []
    for index, text in enumerate(table.match):
        try:
            matchers += parse_matchers(text)
        except ValueError as error:
            faults.append(Fault(f"match[{index}]", str(error)))
    heartbeat = ExpectedHeartbeat(
        key=table.key,
        every=parse_duration(table.every),
        grace=parse_duration(table.grace),
        severity=Severity(table.severity),
        summary=table.summary,
        scope=table.scope,
        labels=table.labels,
        matches=Matching(tuple(matchers)) if matchers else None,
    )
    return heartbeat, faults
