"""A report lists delivered and undelivered notifications, with reasons."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys

import pytest
from recorder import Page, host_of, plugins_of, rule_of

from hostspec import Alert, Fault, OutcomeKind, Suppression
from hostspec.inprocess import Host, Report, UndeliveredError
from hostspec.plugins import Plan

DISK = Alert("disk", "Disk full")
RESOLVED = Alert("disk", status="resolved")


def state(report: Report) -> tuple[bool, ...]:
    return report.delivered, report.unmatched, report.suppressed, report.failed


def test_accepted_deliveries_are_delivered(caplog: pytest.LogCaptureFixture) -> None:
    report = host_of(Page()).handle(DISK)

    assert state(report) == (True, False, False, False)
    assert str(report) == "trigger acme/all: delivered"
    report.raise_for_undelivered()
    assert caplog.messages == []


def test_unmatched_alert_is_undelivered(caplog: pytest.LogCaptureFixture) -> None:
    report = Host(plugins_of(Page()), []).handle(DISK)

    assert state(report) == (False, True, False, False)
    assert str(report) == "unmatched: no rule matches, nothing is sent"
    with pytest.raises(UndeliveredError) as raised:
        report.raise_for_undelivered()
    assert str(raised.value) == (
        "alert 'disk' was not delivered: unmatched: no rule matches, nothing is sent"
    )
    assert raised.value.report is report
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("hostspec", logging.WARNING)
    assert record.getMessage() == "alert disk: no rule matches, nothing is sent"


def test_unmatched_resolve_is_no_loss(caplog: pytest.LogCaptureFixture) -> None:
    report = Host(plugins_of(Page()), []).handle(RESOLVED)

    assert state(report) == (False, True, False, False)
    report.raise_for_undelivered()
    assert caplog.messages == []


def test_vetoed_delivery_is_suppressed(caplog: pytest.LogCaptureFixture) -> None:
    page = Page()
    page.behaviour["plan"] = lambda _: [
        Suppression("pager.page", "acme", "maintenance", plugin) for plugin in ("night", "")
    ]

    report = host_of(page).handle(DISK)

    assert state(report) == (False, False, True, False)
    assert str(report).splitlines() == [
        "pager.page acme: suppressed by night: maintenance",
        "pager.page acme: suppressed: maintenance",
    ]
    report.raise_for_undelivered()
    assert caplog.messages[0] == "alert disk: suppressed by night: maintenance"


def test_failed_deliveries_have_reasons(caplog: pytest.LogCaptureFixture) -> None:
    page = Page()
    page.outcomes.extend([OutcomeKind.REJECTED, OutcomeKind.DELIVERED])
    plugins = plugins_of(page)
    host = Host(plugins, [rule_of(plugins)])
    host.handle(DISK)
    caplog.clear()
    report = host.handle(DISK)
    faulty = Report(Plan(DISK, ("Pages",), (), failures=(Fault("rule 'P'", "no"),)), ())

    assert state(report) == (True, False, False, False)
    assert state(faulty) == (False, False, False, True)
    assert str(faulty) == "rule 'P': no"


def test_failed_deliveries_are_raised_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    page = Page()
    page.outcomes.append(OutcomeKind.REJECTED)
    host = host_of(page)

    report = host.handle(DISK)

    with pytest.raises(UndeliveredError, match=r"was not delivered: trigger acme/all: rejected$"):
        report.raise_for_undelivered()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("hostspec", logging.ERROR)
    assert record.getMessage() == "alert disk: trigger acme/all: rejected"


def test_empty_report_is_a_sentence() -> None:
    """A rule matches, but the provider has no resolve."""
    page = Page()
    page.behaviour["plan"] = lambda _: []

    report = host_of(page).handle(DISK)

    assert state(report) == (False, False, False, False)
    assert str(report) == "nothing to send"


def test_manual_delivery_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    page = Page()
    page.outcomes.append(OutcomeKind.REJECTED)
    host = host_of(page)

    host.send(host.plan(DISK).deliveries[0])

    assert caplog.messages == ["alert disk: trigger acme/all: rejected"]


def test_failures_reach_stderr_without_logging() -> None:
    """Python's handler of last resort prints warnings; the library must not suppress them."""
    program = (
        "from hostspec import Alert\n"
        "from hostspec.inprocess import Host; from hostspec.plugins import load\n"
        "Host(load([]), []).handle(Alert('disk'))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert done.stderr == "alert disk: no rule matches, nothing is sent\n"
