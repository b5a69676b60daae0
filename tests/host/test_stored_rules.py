"""Rules and accounts of the store: in force in every process, and without those with faults."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from serving import Process, Start, measured, post, run
from waiting import wait_until
from workspace import RULE, Workspace, errors_of, line

from alerthost.cli import server as server_module
from alerthost.config.tables import RuleTable
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from alerthost.store.rules import Rules, StoredRule
from hostspec.settings import key_of
from pagerduty_plugin.testing import FakePagerDuty

CHECKOUT_ACTION = {"use": "pagerduty.trigger", "installation": "acme", "services": ["checkout"]}
GONE = {"use": "pagerduty.trigger", "installation": "gone", "services": ["checkout"]}
REASON = "store sqlite:///alerthost.db: rule {!r}: "


@contextlib.contextmanager
def rules_of(workspace: Workspace) -> Iterator[Rules]:
    with Database("sqlite:///alerthost.db", workspace.folder) as database:
        yield Rules(database)


def add(workspace: Workspace, name: str, *actions: Any, **more: Any) -> None:
    with rules_of(workspace) as rules:
        rules.add(name, {"actions": list(actions or [CHECKOUT_ACTION]), **more})


def only(rules: Rules) -> StoredRule:
    (found,) = rules.all()
    return found


def incidents(fake: FakePagerDuty) -> list[tuple[str, str, str]]:
    return [(each.service, each.dedup_key, each.state) for each in fake.incidents]


def test_rules_of_the_file_come_before_those_of_the_store(workspace: Workspace) -> None:
    add(workspace, "Second")
    add(workspace, "First", match=["severity=critical"])
    with rules_of(workspace) as rules:
        rules.move(rules.all()[0], up=False)

    explained = workspace.alerthost("explain", "--json", given=line())

    assert [rule["rule"] for rule in json.loads(explained.stdout)["rules"]] == [
        "Pages",
        "First",
        "Second",
    ]
    checked = workspace.alerthost("check")
    assert checked.returncode == 0
    assert [each for each in checked.stdout.splitlines() if each.startswith("rule")] == [
        "rule           Pages: Send a notification to PagerDuty account acme and services "
        "checkout, platform with default severity",
        "rule           First: Send a notification to PagerDuty account acme and services "
        "checkout with default severity",
        "rule           Second: Send a notification to PagerDuty account acme and services "
        "checkout with default severity",
    ]


def test_rule_that_is_switched_off_is_not_in_force(workspace: Workspace) -> None:
    workspace.configure((RULE, ""))
    add(workspace, "Off", GONE)
    with rules_of(workspace) as rules:
        rules.switch(only(rules), is_enabled=False)
    assert errors_of(workspace.alerthost("send", given=line())) == [
        "alerthost.toml: rules: none are defined, so no alert would page anyone"
    ]
    explained = workspace.alerthost("explain", "--json", given=line())
    assert (json.loads(explained.stdout)["rules"], explained.stderr) == ([], "")


def test_faulty_rule_of_the_store_is_reported_and_the_others_go_on(workspace: Workspace) -> None:
    workspace.configure((RULE, ""))
    add(workspace, "Gone", GONE)
    add(workspace, "Half", GONE, CHECKOUT_ACTION)
    add(workspace, "Wide", match=["severity>critical", "team=data"])
    add(workspace, "Odd", colour="red")
    faults = [
        REASON.format("Gone") + "actions[0].installation: 'gone' is unknown; known are acme; "
        "the rule is not in force",
        REASON.format("Half") + "actions[0].installation: 'gone' is unknown; known are acme; "
        "only the other actions of the rule are in force",
        REASON.format("Wide") + "match[0]: > is not an operator; list the values, as in "
        'severity=~"error|critical"; the rule is not in force',
        REASON.format("Odd")
        + "colour: unknown; known are "
        + ", ".join(key_of(each) for each in attrs.fields(RuleTable))
        + "; the rule is not in force",
    ]
    explained = workspace.alerthost("explain", "--json", given=line())
    assert explained.stderr.splitlines() == faults
    assert [rule["rule"] for rule in json.loads(explained.stdout)["rules"]] == ["Half"]
    assert workspace.alerthost("check").stderr.splitlines() == faults
    sent = workspace.alerthost("send", given=line())
    assert sent.returncode == 0
    assert sent.stderr.splitlines() == faults
    assert incidents(workspace.fake) == [("checkout", "db-1/disk", "triggered")]


def test_rule_with_the_name_of_a_rule_of_the_file_is_not_in_force(workspace: Workspace) -> None:
    add(workspace, "Pages")
    explained = workspace.alerthost("explain", "--json", given=line())
    assert len(json.loads(explained.stdout)["rules"]) == 1
    assert explained.stderr.splitlines() == [
        REASON.format("Pages") + "name: is the name of a rule of the file too; rename one; "
        "the rule is not in force"
    ]


@pytest.fixture
def in_store(workspace: Workspace) -> None:
    """Configure without a rule and without an account in the file."""
    workspace.configure_bare('\n[http]\nlisten = "127.0.0.1:0"\n')


def connect(workspace: Workspace, *more: str) -> None:
    arguments = ("connect", "pagerduty", "acme", "--set", f"base_url={workspace.fake.url}")
    ran = workspace.alerthost(*arguments, "--service", "checkout=env:PD_CHECKOUT", *more)
    assert ran.returncode == 0, ran


@pytest.mark.usefixtures("in_store")
def test_changes_of_accounts_and_rules_reach_every_process(workspace: Workspace) -> None:
    fake = workspace.fake
    with (
        run(workspace, "--no-workers") as (receiving, url),
        Process(workspace, "--no-http") as sending,
    ):
        both = (receiving, sending)
        sending.wait_for("delivering alerts that other processes on this store accept")
        for each in both:
            assert "note: no rule is in force, so no alert pages anyone" in each.log
        connect(workspace)
        for each in both:
            each.wait_for("reloaded")
        add(workspace, "Pages")
        for each in both:
            each.wait_for("reloaded")
        post(url, json.loads(line()))
        fake.wait_for(lambda fake: len(fake.incidents) == 1, 30)

        with rules_of(workspace) as rules:
            rules.remove(only(rules))
        for each in both:
            each.wait_for("reloaded")
        post(url, json.loads(line("db-2/disk")))
        unmatched = ("deliveries", "--state", "unmatched")
        wait_until(lambda: "db-2/disk" in workspace.alerthost(*unmatched).stdout)
        post(url, json.loads(line(status="resolved")))
        fake.wait_for(lambda fake: fake.incidents[0].state == "resolved", 30)
        assert incidents(fake) == [("checkout", "db-1/disk", "resolved")]
        sending.signal(signal.SIGTERM)
        assert sending.end() == 0


@pytest.mark.usefixtures("in_store")
def test_removal_of_an_account_names_the_rules_that_it_breaks(workspace: Workspace) -> None:
    connect(workspace)
    add(workspace, "Pages")
    broken = "rule 'Pages': actions[0].installation: 'acme' is unknown"
    refused = workspace.alerthost("disconnect", "acme")
    assert refused.returncode == 2
    assert broken in refused.stderr
    removed = workspace.alerthost("disconnect", "acme", "--yes")
    assert removed.returncode == 0
    assert broken in workspace.alerthost("check").stderr


def test_change_that_is_refused_is_tried_again(
    start: Start,
    workspace: Workspace,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "LOOK_EVERY", 3600.0)  # by hand here
    running = start()
    url = running.url
    file = workspace.folder / "alerthost.toml"
    text = file.read_text(encoding="utf-8")
    assert running.refresh()
    assert ("alerthost_reloads_total", "succeeded") not in measured(url)
    file.write_text(f"{text}odd = 1\n", encoding="utf-8")
    add(workspace, "More")

    assert not running.refresh()
    assert not running.refresh()
    assert measured(url)["alerthost_reloads_total", "failed"] == 1
    monkeypatch.setattr(server_module, "RETRY_EVERY", 0.0)
    add(workspace, "Still more")
    assert not running.refresh()
    assert not running.refresh()
    assert measured(url)["alerthost_reloads_total", "failed"] == 3
    errors = [each.message for each in caplog.records if each.levelno == logging.ERROR]
    assert [error.partition(": ")[2].partition(";")[0] for error in errors] == [
        "http.odd: unknown",
        "the previous configuration stays active",
    ] * 2

    file.write_text(text, encoding="utf-8")
    assert running.refresh()
    assert measured(url)["alerthost_reloads_total", "succeeded"] == 1
    assert [rule.name for rule in running._app.backend.configuration.rules] == [
        "Pages",
        "More",
        "Still more",
    ]


def test_failing_store_leaves_the_configuration_as_it_is(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    rules = running._app.backend.configuration.rules

    def fail(_: Database) -> None:
        raise StoreError("the disk is gone")

    monkeypatch.setattr(server_module, "read_revision", fail)
    assert not running.refresh()
    assert running._app.backend.configuration.rules is rules


def test_faulty_rule_is_logged_and_counted_by_run(
    start: Start, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    running = start((RULE, ""))
    assert "note: no rule is in force, so no alert pages anyone" in caplog.messages
    assert measured(running.url)["alerthost_faulty_rules",] == 0
    add(workspace, "Gone", GONE)
    wait_until(lambda: measured(running.url)["alerthost_faulty_rules",] == 1)
    (error,) = [each.message for each in caplog.records if each.levelno == logging.ERROR]
    assert error.endswith("the rule is not in force")
