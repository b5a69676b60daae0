"""The glossary names the states, outcomes and hooks of the code, and each term once."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from alerthost.outbox.retry_policy import DeliveryState, LaneState
from alerthost.outbox.submission import SubmissionOutcome
from hostspec import Operation, OutcomeKind, Severity
from hostspec.hookspecs import HostSpec
from pagerduty_plugin.hookspecs import PagerDutySpec

PAGE = Path(__file__).parents[2] / "docs" / "glossary.md"


def terms(heading: str) -> list[str]:
    """Return the first column of a section's table, in order."""
    section = (
        PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    )
    return re.findall(r"^\| `?([^`|]+?)`? \|", section, re.MULTILINE)[1:]


@pytest.mark.parametrize(
    ("heading", "states"),
    [
        ("States of a delivery", DeliveryState),
        ("States of a lane", LaneState),
        ("Outcomes of an attempt", OutcomeKind),
        ("Outcomes of a submission without deliveries", SubmissionOutcome),
    ],
)
def test_the_states_and_outcomes_are_those_of_the_code(heading, states) -> None:
    assert terms(heading) == [state.value for state in states]


@pytest.mark.parametrize(("term", "members"), [("severity", Severity), ("operation", Operation)])
def test_the_severities_and_operations_are_those_of_the_code(term, members) -> None:
    (meaning,) = re.findall(
        rf"^\| {term} \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    words = re.findall(r"[a-z]+", meaning.rpartition(": ")[2])
    assert [word for word in words if word != "or"] == [member.value for member in members]


def test_the_hooks_are_those_of_the_code() -> None:
    specified = [
        name
        for spec in (HostSpec, PagerDutySpec)
        for name in vars(spec)
        if not name.startswith("_")
    ]
    assert sorted(terms("Hooks")) == sorted(specified)


def test_each_term_is_explained_once() -> None:
    headings = ("Alerts", "Configuration", "Incidents and deliveries", "The delivery engine")
    counted = Counter(term for heading in headings for term in terms(heading))
    assert len(counted) > 40
    assert [term for term, number in counted.items() if number > 1] == []
