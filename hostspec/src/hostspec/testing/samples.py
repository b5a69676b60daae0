"""The alerts the checks are made with."""

from __future__ import annotations

import datetime as dt

from hostspec.alert import Alert, Image, Link, Severity, Status


def firing(token: str, *, severity: Severity = Severity.CRITICAL, scope: str = "") -> Alert:
    """Return a firing alert whose key and summary hold a token."""
    return Alert(
        token,
        f"Conformance check {token}",
        severity=severity,
        scope=scope,
        source="conformance.example",
        started_at=dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        labels={"team": "conformance"},
    )


def of_status(token: str, status: Status) -> Alert:
    """Return what the host says later of the problem of `firing`."""
    return Alert(token, f"Conformance check {token}", status=status, labels={"team": "another"})


def rough() -> Alert:
    """Return an alert that no service likes: endless, deep, strange."""
    nested: object = "deep"
    for _ in range(60):
        nested = {"deeper": nested}
    return Alert(
        "conformance/" + "k" * 400,
        "Disk full 🧯\n\x00\ud800 " * 400,
        severity="apocalyptic",
        source=" ",
        labels={f"label {number}": "é" * 300 for number in range(50)},
        details={
            "nan": float("nan"),
            "when": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
            "set": {1, 2},
            "nested": nested,
            "long": "x" * 600_000,
            "": None,
        },
        url="not a URL",
        links=[Link("https://runbook.example", "Runbook"), Link("javascript:alert(1)")],
        images=[Image("http://graph.example/1.png")],
    )


def samples() -> tuple[Alert, ...]:
    """Return alerts of every kind that must be planned, made again."""
    return (
        Alert("conformance/least"),
        firing("conformance/usual"),
        firing("conformance/scoped", scope="tenant", severity=Severity.DEBUG),
        rough(),
        *(of_status("conformance/usual", status) for status in Status),
    )
