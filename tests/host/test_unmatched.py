"""``alerthost check`` names the rules and matchers that match no alert."""

from __future__ import annotations

import json

import pytest
from workspace import Workspace, line

RULE = "match = ['severity=~\"error|critical\"', 'team=\"data\"']"


def test_rules_are_compared_with_the_alerts_in_the_store(workspace: Workspace) -> None:
    assert workspace.alerthost("check").stderr == ""
    workspace.alerthost("send", given=line() + line("db-2/disk"))
    assert workspace.alerthost("check").stderr == ""
    workspace.configure((RULE, "match = ['tam=\"data\"', 'source=~\"db-.*\"']"))

    run = workspace.alerthost("check")

    note = "rule 'Pages': the matcher tam=\"data\" matches none of 2 recent alerts in the store"
    assert (run.returncode, run.stderr) == (0, f"note: {note}\n")
    assert json.loads(workspace.alerthost("check", "--json").stdout)["notes"] == [note]


@pytest.mark.parametrize(
    ("match", "note"),
    [
        ("['team=\"web\"', 'source=\"x\"']", ': the matchers team="web" and source="x" match none'),
        ("['team=\"data\"', 'source=\"db-2\"']", " matches none"),
        ("[]", None),
    ],
)
def test_rules_are_compared_with_given_alerts(
    workspace: Workspace, match: str, note: str | None
) -> None:
    (workspace.folder / "alerts.jsonl").write_text(
        line(source="db-1") + line(source="db-2", labels={"team": "it"}) + "{}\n", encoding="utf-8"
    )
    workspace.configure((RULE, f"match = {match}"))

    run = workspace.alerthost("check", "--alerts", "alerts.jsonl")

    expected = [f"note: rule 'Pages'{note} of 2 given alerts"] if note else []
    assert run.returncode == 0
    assert run.stderr.splitlines() == [
        "note: line 3: key: missing or blank; it names the problem",
        *expected,
    ]
    assert workspace.fake.requests == ()
