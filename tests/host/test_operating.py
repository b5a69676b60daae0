"""Commands that list deliveries and incidents, and change them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import sqlalchemy as sa
from terminal import conversation
from workspace import CHECKOUT, PLATFORM, Workspace, line, printed_lines

from alerthost.cli.output import age
from alerthost.cli.progress import Tracker
from alerthost.config import configuration
from alerthost.config.document import ConfigFile
from alerthost.config.store import open_engine
from alerthost.outbox.engine import Engine
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from hostspec import Alert
from hostspec.plugins import load
from pagerduty_plugin.testing import refusing, reset

ONE = ('services = ["checkout", "platform"]', 'services = ["checkout"]')
HASTE = ("--timeout", "1")


@pytest.fixture(autouse=True)
def one_service(workspace: Workspace) -> None:
    workspace.configure(ONE)


def send(workspace: Workspace, *lines: str, **env: str) -> subprocess.CompletedProcess[str]:
    return workspace.alerthost("send", *HASTE, given="".join(lines), env=dict(env))


def refuse(workspace: Workspace, key: str = "db-1/disk") -> None:
    """Make PagerDuty reject triggers."""
    workspace.fake.misbehave(refusing("no luck"), times=1)
    assert send(workspace, line(key)).returncode == 1


def listed(workspace: Workspace, *arguments: str) -> list[dict[str, Any]]:
    run = workspace.alerthost(*arguments, "--json")
    assert (run.returncode, run.stderr) == (0, "")
    found = json.loads(run.stdout)
    assert isinstance(found, list)
    return found


def reported(run: subprocess.CompletedProcess[str]) -> list[str]:
    return printed_lines(run.stdout)


# --- deliveries ------------------------------------------------------------------------------


def test_an_unused_store_lists_nothing(workspace: Workspace) -> None:
    for command in ("deliveries", "incidents"):
        assert listed(workspace, command) == []
    assert workspace.alerthost("deliveries").stdout == "No alert was accepted yet.\n"
    assert workspace.alerthost("incidents").stdout == "No incident is open.\n"
    assert not (workspace.folder / "alerthost.db").exists()


def test_deliveries_are_listed_newest_first(workspace: Workspace) -> None:
    refuse(workspace)
    send(workspace, line("db-2/disk"))

    assert reported(workspace.alerthost("deliveries")) == [
        "Deliveries",
        "id state operation service alert age details",
        "2 delivered trigger acme/checkout db-2/disk N s",
        "1 rejected trigger acme/checkout db-1/disk N s 400: no luck",
        "1 rejected",
    ]


@pytest.mark.parametrize(("table", "kept"), [("", 2), ("[store]\nkeep_days = 1\n", 0)])
def test_finished_deliveries_are_kept_for_keep_days(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, table: str, kept: int
) -> None:
    for status in ("firing", "resolved"):
        assert send(workspace, line(status=status)).returncode == 0
    file = workspace.folder / "alerthost.toml"
    file.write_text(f"{table}{file.read_text()}")
    monkeypatch.setenv("PD_CHECKOUT", CHECKOUT)
    source = ConfigFile.read(file)
    with open_engine(source, configuration.load(source)) as engine:
        with engine.database.begin() as connection:
            days = 2 * 86_400
            aged = "UPDATE deliveries SET finished_at = finished_at - :days"
            connection.execute(sa.text(aged), {"days": days})
            # nothing is removed before the clock has been steady for a day
            steady = "UPDATE clock SET steady_since = steady_since - :days"
            connection.execute(sa.text(steady), {"days": days})
        engine.drain()
    assert len(listed(workspace, "deliveries")) == kept


def test_deliveries_are_printed_as_json(workspace: Workspace) -> None:
    refuse(workspace)

    [found] = listed(workspace, "deliveries")

    [attempt] = found.pop("attempt_log")
    times = [found.pop(name) for name in ("accepted_at", "finished_at")]
    times.append(attempt.pop("started_at"))
    assert attempt.pop("seconds") >= 0
    assert attempt == {"number": 1, "outcome": "rejected", "reason": "400: no luck"}
    assert all(time.endswith("+00:00") for time in times)
    assert found == {
        "id": 1,
        "incident": 1,
        "state": "rejected",
        "operation": "trigger",
        "service": "acme/checkout",
        "correlation_key": "db-1/disk",
        "alert": {"scope": "", "key": "db-1/disk"},
        "severity": "critical",
        "rules": ["Pages"],
        "next_attempt_at": None,
        "attempts": 1,
        "coalesced": 0,
        "outcome": "rejected",
        "reason": "400: no luck",
    }


def test_deliveries_are_listed_by_state(workspace: Workspace) -> None:
    refuse(workspace)
    send(workspace, line("db-2/disk"))
    send(workspace, line("db-3/disk"), PD_CHECKOUT="x" * 32)

    for states, ids in (
        (["rejected"], [1]),
        (["delivered"], [2]),
        (["blocked"], [3]),
        (["queued"], []),
        (["blocked", "rejected"], [3, 1]),
        ([], [3, 2, 1]),
    ):
        options = [part for state in states for part in ("--state", state)]
        assert [each["id"] for each in listed(workspace, "deliveries", *options)] == ids
    assert [each["id"] for each in listed(workspace, "deliveries", "--most", "1")] == [3, 2, 1]
    assert reported(workspace.alerthost("deliveries"))[-1] == "1 blocked, 1 rejected"


def test_retries_and_coalesced_deliveries_are_shown(workspace: Workspace) -> None:
    workspace.fake.misbehave(reset())
    send(workspace, line())
    send(workspace, line(summary="fuller"))

    row = next(text for text in reported(workspace.alerthost("deliveries")) if " queued " in text)

    assert "attempts; " in row or "covers 1 other" in row
    assert reported(workspace.alerthost("deliveries"))[-1].endswith("queued")


def test_the_reason_of_a_confirming_resolve_is_shown(workspace: Workspace) -> None:
    workspace.fake.misbehave(reset(), times=1)
    assert workspace.alerthost("send", given=line()).returncode == 0
    assert workspace.alerthost("send", given=line(status="resolved")).returncode == 0

    assert reported(workspace.alerthost("deliveries", "--state", "queued"))[2:] == [
        "3 queued resolve acme/checkout db-1/disk N s "
        "next attempt in N s; "
        "sent again, in case an earlier delivery arrives late and reopens the incident",
        "1 queued",
    ]


def test_changes_are_watched_on_a_terminal_until_ctrl_c(workspace: Workspace) -> None:
    with conversation(workspace, "deliveries", "--watch") as watching:
        watching.wait_for("No alert was accepted yet.")
        send(workspace, line())
        watching.wait_for("db-1/disk")
        watching.wait_for("Nothing is queued.")
        watching.type("\x03")
        assert watching.end() == 0
    assert "Traceback" not in watching.seen


def test_changes_are_watched_as_json(workspace: Workspace) -> None:
    refuse(workspace)
    with conversation(workspace, "deliveries", "--watch", "--json") as watching:
        watching.wait_for('"state": "rejected"')
        workspace.alerthost("discard", "1")
        watching.wait_for('"state": "discarded"')
        watching.type("\x03")
        assert watching.end() == 0
    changes = [json.loads(text) for text in watching.seen.splitlines() if text.startswith("{")]
    shown = [(each["id"], each["state"]) for each in changes]
    assert len(shown) == len(set(shown))  # unchanged deliveries are not printed again


def test_watching_ends_when_the_output_is_closed(workspace: Workspace) -> None:
    refuse(workspace)
    run = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m alerthost deliveries --watch > /dev/full"],
        cwd=workspace.folder,
        env=workspace.environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (run.returncode, run.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("seconds", "told_as"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (7199, "1 h"), (200_000, "2 d"), (-5, "0 s")],
)
def test_an_age_has_one_unit(seconds: float, told_as: str) -> None:
    assert age(1000.0, 1000.0 + seconds) == told_as


# --- replay and drop -------------------------------------------------------------------------


def test_a_rejected_delivery_is_replayed(workspace: Workspace) -> None:
    refuse(workspace)

    run = workspace.alerthost("replay", "1")

    assert (run.returncode, run.stderr) == (0, "")
    assert reported(run) == [
        "delivered trigger acme/checkout db-1/disk",
        "1 replay, 1 delivery (1 delivered)",
    ]
    assert [incident.dedup_key for incident in workspace.fake.incidents] == ["db-1/disk"]


def test_all_failed_deliveries_are_replayed_in_order(workspace: Workspace) -> None:
    keys = [f"db-{number}" for number in range(3)]
    for key in keys:
        refuse(workspace, key)

    run = workspace.alerthost("replay", "--all")

    assert reported(run)[-1] == "3 replays, 3 deliveries (3 delivered)"
    assert [text.split()[-1] for text in reported(run)[:-1]] == keys
    assert reported(workspace.alerthost("replay", "--all")) == ["0 replays, 0 deliveries"]


def test_a_replay_of_an_ended_problem_sends_nothing_unless_as_is(workspace: Workspace) -> None:
    refuse(workspace)
    send(workspace, line(status="resolved"))

    over = workspace.alerthost("replay", "1")
    assert (over.returncode, reported(over)) == (
        0,
        [
            "nothing sent db-1/disk its problem is over",
            "1 replay, 0 deliveries, 1 with nothing to send",
        ],
    )
    assert workspace.fake.incidents == ()

    refuse(workspace, "db-2/disk")
    send(workspace, line("db-2/disk", status="resolved"))
    [number] = [each["id"] for each in listed(workspace, "deliveries", "--state", "rejected")]
    workspace.alerthost("replay", "--as-is", str(number))
    assert [incident.dedup_key for incident in workspace.fake.incidents] == ["db-2/disk"]


def test_a_rejected_resolve_that_is_not_needed_is_not_replayed(
    workspace: Workspace,
) -> None:
    send(workspace, line())
    workspace.fake.misbehave(refusing("no luck"), times=1)
    send(workspace, line(status="resolved"))
    [number] = [each["id"] for each in listed(workspace, "deliveries", "--state", "rejected")]
    workspace.alerthost("resolve", "1")

    run = workspace.alerthost("replay", str(number))

    assert reported(run)[0] == "nothing sent db-1/disk its problem is over"


def test_an_impossible_replay_or_discard_is_an_error(workspace: Workspace) -> None:
    send(workspace, line())

    for command, reason in (
        ("replay", "was not given up: it is"),
        ("discard", "is finished: it is"),
    ):
        run = workspace.alerthost(command, "1", "77")
        assert run.returncode == 1
        assert run.stderr.splitlines() == [
            f"the delivery 1 {reason} delivered",
            "there is no delivery 77",
        ]
    assert len(workspace.fake.requests) == 1


@pytest.mark.parametrize("arguments", [(), ("--all", "1")])
def test_replay_needs_ids_or_all(workspace: Workspace, arguments: tuple[str, ...]) -> None:
    run = workspace.alerthost("replay", *arguments)

    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("ID: give the ids to replay, or --all;")


def test_a_discarded_delivery_is_not_sent(workspace: Workspace) -> None:
    refuse(workspace, "db-1/disk")
    workspace.fake.misbehave(reset())
    send(workspace, line("db-2/disk"))

    run = workspace.alerthost("discard", "1", "2")

    assert (run.returncode, run.stdout) == (0, "discarded delivery 1\ndiscarded delivery 2\n")
    workspace.fake.behave()
    send(workspace, line("db-3/disk"))
    assert [incident.dedup_key for incident in workspace.fake.incidents] == ["db-3/disk"]


# --- incidents -------------------------------------------------------------------------------


def test_incidents_are_listed_with_their_services_and_alerts(
    workspace: Workspace,
) -> None:
    workspace.configure(
        ONE,
        ("services = [\n", 'subdomain = "acme"\nservices = [\n'),
        ('{ name = "checkout",', '{ name = "checkout", pagerduty_id = "PABC",'),
    )
    send(workspace, line("db-1/disk"))
    send(workspace, line("db-1/disk", status="acknowledged"))

    assert reported(workspace.alerthost("incidents")) == [
        "Incidents",
        "id state severity service incident age summary link",
        "1 acknowledged critical acme/checkout db-1/disk N s Disk full on db-1 "
        "https://acme.pagerduty.com/service-directory/PABC",
    ]
    [found] = listed(workspace, "incidents", "--account", "acme")
    assert all(found.pop(name).endswith("+00:00") for name in ("opened_at", "changed_at"))
    assert found == {
        "id": 1,
        "state": "acknowledged",
        "service": "acme/checkout",
        "action": "pagerduty.trigger",
        "correlation_key": "db-1/disk",
        "severity": "critical",
        "summary": "Disk full on db-1",
        "may_be_open": True,
        "holders": [{"scope": "", "key": "db-1/disk"}],
        "rules": ["Pages"],
        "link": "https://acme.pagerduty.com/service-directory/PABC",
    }


def test_a_long_summary_keeps_the_table_narrow(workspace: Workspace) -> None:
    send(workspace, line(severity="warning"))
    send(workspace, line(summary="Disk full on db-1, and " + 300 * "x"))

    _, head, shown, *_ = workspace.alerthost("incidents").stdout.splitlines()
    assert head.split()[-1] == "summary"
    assert shown.endswith("Disk full on db-1, an…")
    assert len(shown) <= 80
    [found] = listed(workspace, "incidents")
    assert (found["severity"], len(found["summary"])) == ("critical", 201)


def test_incidents_of_an_unknown_account_are_an_error(workspace: Workspace) -> None:
    run = workspace.alerthost("incidents", "--account", "acmee")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "the account 'acmee' is unknown; did you mean 'acme'?\n"
    assert workspace.alerthost("incidents", "--account", "acme").stdout == "No incident is open.\n"


def test_a_shortened_list_of_incidents_says_so(workspace: Workspace) -> None:
    send(workspace, line("db-1/disk"), line("db-2/disk"))

    run = workspace.alerthost("incidents", "--most", "1")
    assert (len(reported(run)), run.returncode) == (3, 0)
    assert run.stderr == "more are open; use --most to list them\n"
    assert workspace.alerthost("incidents", "--most", "2").stderr == ""


def test_an_incident_of_a_scoped_alert_shows_the_scope(workspace: Workspace) -> None:
    send(workspace, line("db-1", scope="team-a"))

    assert reported(workspace.alerthost("incidents"))[2:] == [
        "1 triggered critical acme/checkout team-a/db-1 N s Disk full on db-1"
    ]


def test_an_incident_shows_all_its_alerts(workspace: Workspace) -> None:
    workspace.configure(
        ONE, ('severity = "default"', 'severity = "default"\ndedup_key = "{{ labels.team }}"')
    )
    send(workspace, line("db-1"), line("db-2"))

    assert reported(workspace.alerthost("incidents"))[2:] == [
        "1 triggered critical acme/checkout data N s Disk full on db-1 db-1, db-2"
    ]


def test_incidents_not_sent_yet_and_resolving_are_shown(workspace: Workspace) -> None:
    send(workspace, line("open"))
    workspace.fake.misbehave(reset())
    send(workspace, line("open", status="resolved"))
    send(workspace, line("untold"))

    states = {each["correlation_key"]: each["state"] for each in listed(workspace, "incidents")}

    assert states == {"open": "resolving", "untold": "not sent yet"}


def test_an_incident_is_resolved_though_alerts_hold_it_open(workspace: Workspace) -> None:
    send(workspace, line())

    run = workspace.alerthost("resolve", "1")

    assert (run.returncode, run.stderr) == (0, "")
    assert reported(run) == [
        "delivered resolve acme/checkout db-1/disk",
        "1 incident, 1 delivery (1 delivered)",
    ]
    assert [incident.state for incident in workspace.fake.incidents] == ["resolved"]
    assert workspace.alerthost("incidents").stdout == "No incident is open.\n"
    again = workspace.alerthost("resolve", "1")
    assert (again.returncode, again.stderr) == (1, "there is no open incident 1\n")


def test_an_incident_without_a_resolve_is_forgotten_here(workspace: Workspace) -> None:
    workspace.configure(
        ONE, ('severity = "default"', 'severity = "default"\nevent_actions = ["trigger"]')
    )
    send(workspace, line())

    run = workspace.alerthost("resolve", "1")

    assert reported(run)[0] == "nothing sent incident 1 forgotten here; its provider has no resolve"
    assert workspace.alerthost("incidents").stdout == "No incident is open.\n"
    assert len(workspace.fake.requests) == 1


def test_an_incident_closed_at_the_provider_is_forgotten(workspace: Workspace) -> None:
    send(workspace, line())

    run = workspace.alerthost("resolve", "--here", "1")

    assert (run.returncode, run.stdout) == (0, "forgot incident 1\n")
    assert len(workspace.fake.requests) == 1
    assert workspace.alerthost("incidents").stdout == "No incident is open.\n"
    again = workspace.alerthost("resolve", "--here", "1")
    assert (again.returncode, again.stderr) == (1, "there is no open incident 1\n")


def test_an_orphaned_incident_is_listed_until_it_is_forgotten(workspace: Workspace) -> None:
    workspace.fake.add_service("new", "n" * 32)
    send(workspace, line())
    lost = send(workspace, line(status="resolved"), PD_CHECKOUT="n" * 32)

    assert lost.returncode == 1
    assert reported(lost)[0].startswith("orphaned resolve acme/checkout db-1/disk")
    assert reported(workspace.alerthost("incidents"))[2].startswith(
        "1 orphaned critical acme/checkout db-1/disk"
    )
    assert workspace.alerthost("resolve", "--here", "1").returncode == 0
    assert workspace.alerthost("incidents").stdout == "No incident is open.\n"


# --- incidents that are cut off --------------------------------------------------------------


def gone(what: str) -> str:
    return (
        f"1 open incident at acme cannot be closed without {what}; restore the configuration, or "
        "close at the provider and run `alerthost resolve --here ID` (see `alerthost "
        "incidents`)"
    )


def test_open_incidents_of_a_disabled_plugin_are_noted(workspace: Workspace) -> None:
    send(workspace, line())
    (workspace.folder / "alerthost.toml").write_text("[plugins]\nenabled = []\n")

    told_of = gone(
        "the action pagerduty.trigger (no enabled plugin offers it) and the account acme"
    )
    assert reported(workspace.alerthost("incidents"))[2].startswith("1 cut off acme/checkout"[:9])
    run = workspace.alerthost("resolve", "1")
    assert run.returncode == 1
    assert run.stderr.splitlines() == [
        f"note: {told_of}",
        "the action pagerduty.trigger is gone; enable its plugin first",
    ]


def test_open_incidents_of_a_removed_account_are_noted(workspace: Workspace) -> None:
    send(workspace, line())
    workspace.configure(ONE, ('name = "acme"', 'name = "other"'), ('= "acme"', '= "other"'))

    assert workspace.alerthost("check", "--json").stdout
    for command in ("check", "send"):
        run = workspace.alerthost(command)
        assert (run.returncode, run.stderr) == (0, f"note: {gone('the account acme')}\n")


def test_an_error_of_the_store_while_sending_exits_with_1(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        message = "the disk fails"
        raise StoreError(message)

    monkeypatch.setattr(Tracker, "update", fail)

    run = workspace.alerthost("send", given=line())

    assert (run.returncode, run.stdout, run.stderr) == (1, "", "the disk fails\n")


def test_check_reports_an_unreadable_store(workspace: Workspace) -> None:
    (workspace.folder / "alerthost.db").write_text("no database" * 100)

    run = workspace.alerthost("check")

    assert run.returncode == 2
    assert "is not a SQLite database" in run.stderr


def test_check_reports_a_store_that_fails_later(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        message = "the disk fails"
        raise StoreError(message)

    monkeypatch.setattr("alerthost.cli.check.cut_off_notes", fail)

    run = workspace.alerthost("check")

    assert (run.returncode, run.stderr) == (2, "store: the disk fails\n")


# --- disconnecting ---------------------------------------------------------------------------


@pytest.fixture
def connected(workspace: Workspace) -> Workspace:
    workspace.configure_bare(
        """
[[rules]]
name = "Pages"
[[rules.actions]]
use = "pagerduty.trigger"
installation = "acme"
services = ["checkout"]
"""
    )
    options = ("--set", f"base_url={workspace.fake.url}", "--service", "checkout=env:PD_CHECKOUT")
    assert workspace.alerthost("connect", "pagerduty", "acme", *options).returncode == 0
    send(workspace, line())
    return workspace


def test_disconnecting_with_open_incidents_needs_a_choice(
    connected: Workspace,
) -> None:
    run = connected.alerthost("disconnect", "acme", "--yes")

    assert run.returncode == 2
    assert reported(run) == [
        "Open in acme",
        "id state severity service incident age summary",
        "1 triggered critical acme/checkout db-1/disk N s Disk full on db-1",
    ]
    assert run.stderr.splitlines()[-1] == (
        "incidents are open there: use --resolve to close them first, or --leave"
    )
    assert connected.alerthost("disconnect", "acme", "--yes", "--leave").returncode == 0
    assert [incident.state for incident in connected.fake.incidents] == ["triggered"]


def test_open_incidents_are_closed_before_an_account_is_removed(
    connected: Workspace,
) -> None:
    run = connected.alerthost("disconnect", "acme", "--yes", "--resolve")

    assert run.returncode == 0
    assert reported(run)[3:] == ["delivered resolve acme/checkout db-1/disk", "disconnected acme"]
    assert [incident.state for incident in connected.fake.incidents] == ["resolved"]


def test_an_account_is_kept_if_an_incident_stays_open(connected: Workspace) -> None:
    connected.fake.misbehave(refusing("no luck"))

    run = connected.alerthost("disconnect", "acme", "--yes", "--resolve")

    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        "not disconnected: incidents are still open in acme; try again, or use --leave"
    )
    assert "acme" in connected.alerthost("installations").stdout


def test_the_operator_is_asked_about_open_incidents(connected: Workspace) -> None:
    connected.configure_bare()
    with conversation(connected, "disconnect", "acme") as asked:
        asked.wait_for("db-1/disk")
        asked.answer("Close them first, or leave them open (resolve, leave)", "resolve")
        asked.answer("Disconnect acme?", "y")
        assert asked.end() == 0
    assert [incident.state for incident in connected.fake.incidents] == ["resolved"]


def test_only_the_first_open_incidents_are_listed(
    connected: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alerthost.cli.incidents.SHOWN", 1)
    send(connected, line("db-2/disk"), line("db-3/disk"))

    run = connected.alerthost("disconnect", "acme", "--yes")

    assert len(reported(run)) == 3
    assert "and 2 more" in run.stderr.splitlines()


# --- the store is copied ---------------------------------------------------------------------


def test_an_interrupted_copy_shows_how_to_continue(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    send(workspace, line("db-1/disk"))
    words = (f"sqlite:///{workspace.folder}/alerthost.db", f"sqlite:///{workspace.folder}/copy.db")
    with monkeypatch.context() as patch:
        patch.setattr("alerthost.store.copying.copy", interrupt)
        run = workspace.alerthost("store", "copy", *words)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "interrupted; run the same command again to continue\n"


# --- the store's key -------------------------------------------------------------------------


def test_the_store_is_sealed_with_a_new_key(connected: Workspace) -> None:
    options = ("--set", f"base_url={connected.fake.url}", "--settings", "-")
    given = f'services = [{{ name = "data", integration_key = "{PLATFORM}" }}]\n'
    assert (
        connected.alerthost("connect", "pagerduty", "beta", *options, given=given).returncode == 0
    )
    key = connected.folder / "alerthost.key"
    key.rename(connected.folder / "old.key")
    connected.alerthost("new-key", "--write", "alerthost.key")

    without = connected.alerthost("reseal")
    assert without.returncode == 2
    assert "it was sealed with another key" in without.stderr
    run = connected.alerthost("reseal", "--old-key", f"file:{connected.folder}/old.key")

    place = f"store sqlite:///alerthost.db with the first key of file:{key}"
    assert (run.returncode, run.stdout) == (0, f"sealed 1 secret in {place}\n")
    assert connected.alerthost("services", "beta").returncode == 0
    assert connected.alerthost("reseal").stdout.startswith("sealed 1 secret ")


def test_a_missing_or_plain_store_key_is_an_error(workspace: Workspace) -> None:
    run = workspace.alerthost("reseal")
    assert (run.returncode, run.stderr) == (
        2,
        "[store] key: missing; name the new key\n",
    )
    workspace.configure_bare()
    run = workspace.alerthost("reseal", "--old-key", CHECKOUT)
    assert run.returncode == 2
    assert run.stderr.startswith("--old-key: do not put a secret on the command line")
    assert CHECKOUT not in run.stderr
    assert workspace.alerthost("reseal").stdout.startswith("sealed 0 secrets in store ")


def test_pending_submissions_are_counted(workspace: Workspace) -> None:
    workspace.configure()
    with Database("sqlite:///alerthost.db", workspace.folder) as database:
        Engine(database, load([]), []).accept_many([Alert("disk")])

    assert "1 still to be planned" in workspace.alerthost("deliveries").stdout
