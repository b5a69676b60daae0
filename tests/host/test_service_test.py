"""``alerthost test`` opens an incident, acknowledges it and closes it."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner
from recorder import (
    IDEMPOTENT,
    SILENT,
    Page,
    Pager,
    PagerPlugin,
    PageSettings,
)
from workspace import CHECKOUT, PLATFORM, Workspace

from alerthost.cli import service_test
from alerthost.cli.main import main
from alerthost.config import configuration
from alerthost.config.configuration import Configuration
from hostspec import Capabilities, Destination, OutcomeKind, Suppression
from hostspec.plugins import load
from pagerduty_plugin.testing import FakePagerDuty, Gate, late

STEP = re.compile(r"(\w+) +(\w+) +(\S+) +\d+\.\d\d s(?:  (.*))?")


def steps(text: str) -> list[tuple[str, ...]]:
    """Return the printed steps: outcome, operation, service, reason."""
    return [found.groups(default="") for found in map(STEP.fullmatch, text.splitlines()) if found]


def test_an_incident_is_opened_acknowledged_and_closed(workspace: Workspace) -> None:
    run = workspace.alerthost("test", "acme/checkout")

    assert (run.returncode, run.stderr) == (0, "")
    [incident] = workspace.fake.incidents
    assert (incident.service, incident.state, incident.severity, incident.events) == (
        "checkout",
        "resolved",
        "info",
        3,
    )
    assert incident.summary == "Test of acme/checkout by alerthost; no action needed"
    assert re.fullmatch(r"alerthost-test/[0-9a-f]{16}", incident.dedup_key)
    assert "test" in workspace.bodies()[0]["payload"]["custom_details"]
    head, *_, last, note = run.stdout.splitlines()
    assert head == f"Test of acme/checkout under the key {incident.dedup_key}"
    assert steps(run.stdout) == [
        ("delivered", operation, "acme/checkout", "")
        for operation in ("trigger", "acknowledge", "resolve")
    ]
    assert last == "Test OK at acme/checkout: opened, acknowledged and closed."
    assert note == "The service's settings decide whether this notified anyone."


def test_each_test_has_its_own_key(workspace: Workspace) -> None:
    workspace.alerthost("test", "acme/checkout")
    workspace.alerthost("test", "acme/checkout")

    assert len({incident.dedup_key for incident in workspace.fake.incidents}) == 2


def test_no_rule_and_no_secret_of_another_service_is_needed(workspace: Workspace) -> None:
    path = workspace.folder / "alerthost.toml"
    path.write_text(path.read_text("utf-8").partition("[[rules]]")[0], encoding="utf-8")
    (workspace.folder / "pd_platform").unlink()

    assert workspace.alerthost("test", "acme/checkout").returncode == 0


@pytest.mark.parametrize(
    ("named", "reported"),
    [
        ("acme", "choose a service of 'acme': acme/checkout, acme/platform"),
        ("acme/chekout", "'acme/chekout' is unknown; did you mean 'acme/checkout'?"),
        ("x", "'x' is unknown; known are acme/checkout, acme/platform"),
    ],
)
def test_an_unknown_service_is_an_error(workspace: Workspace, named: str, reported: str) -> None:
    run = workspace.alerthost("test", named)

    assert run.returncode == 2
    assert reported in run.stderr
    assert workspace.fake.requests == ()


def test_an_account_with_one_service_is_enough(workspace: Workspace) -> None:
    entry = f'  {{ name = "platform", integration_key = "file:{workspace.folder}/pd_platform" }},\n'
    workspace.configure((entry, ""), ('["checkout", "platform"]', '["checkout"]'))

    assert workspace.alerthost("test", "acme").returncode == 0
    assert [incident.service for incident in workspace.fake.incidents] == ["checkout"]


def test_a_configuration_error_is_shown(workspace: Workspace) -> None:
    workspace.configure(('installation = "acme"', 'installation = "amce"'))

    run = workspace.alerthost("test", "acme/checkout")

    assert run.returncode == 2
    assert "did you mean 'acme'?" in run.stderr
    assert workspace.fake.requests == ()


def test_a_wrong_key_opens_nothing_and_is_shown(workspace: Workspace) -> None:
    run = workspace.alerthost("test", "acme/checkout", env={"PD_CHECKOUT": "z" * 32})

    assert run.returncode == 1
    [(outcome, operation, _, reason)] = steps(run.stdout)
    assert (outcome, operation) == ("misconfigured", "trigger")
    assert reason.endswith("Invalid routing key")
    assert run.stderr == "No incident was opened at acme/checkout.\n"
    assert "z" * 32 not in run.stdout


def test_no_key_is_ever_shown(workspace: Workspace) -> None:
    run = workspace.alerthost("test", "acme/checkout")

    assert not any(key in run.stdout + run.stderr for key in (CHECKOUT, PLATFORM))


# --- interrupted, as a process of its own


@contextmanager
def running(workspace: Workspace) -> Iterator[subprocess.Popen[str]]:
    """Run ``alerthost test`` in a process, whose attempts wait for as long as they may."""
    patient = f'base_url = "{workspace.fake.url}"\nnetwork = {{ timeout = 60 }}'
    workspace.configure((f'base_url = "{workspace.fake.url}"', patient))
    with subprocess.Popen(
        [sys.executable, "-m", "alerthost", "test", "acme/checkout"],
        cwd=workspace.folder,
        env=workspace.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


def interrupt(process: subprocess.Popen[str], number: signal.Signals) -> tuple[str, str]:
    """Send a signal, again if it has no effect, as a person does; return the output.

    Python notices a signal that arrives just before a system call when that has returned.
    """
    for _ in range(3):
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=20)
    raise AssertionError(number)


def hold(fake: FakePagerDuty, *, after: int = 0, taken: Any = "at once") -> Gate:
    """Hold one request until the gate is open, after some that pass."""
    gate, passing = Gate(), Gate()
    passing.open()
    if after:
        fake.misbehave(late(passing), times=after)
    fake.misbehave(late(gate, processed=taken), times=1)
    return gate


def arrived(count: int) -> Callable[[FakePagerDuty], bool]:
    """Check that a number of requests with bodies have arrived."""
    return lambda fake: len([each for each in fake.requests if each.body]) >= count


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_acknowledge_closes_at_once(
    workspace: Workspace, which: signal.Signals
) -> None:
    gate = hold(workspace.fake, after=1)
    with running(workspace) as process:
        workspace.fake.wait_for(arrived(2))
        process.send_signal(which)
        # the acknowledge is never answered
        out, err = process.communicate(timeout=60)
    gate.open()

    assert process.returncode == 1
    [incident] = workspace.fake.incidents
    assert incident.state == "resolved"
    assert [each[:2] for each in steps(out)] == [("delivered", "trigger"), ("delivered", "resolve")]
    assert err.splitlines() == [
        "interrupted: closing the incident first; interrupt again to abort",
        "The test was interrupted.",
    ]


def test_a_signal_during_the_trigger_waits_for_it_and_closes(
    workspace: Workspace,
) -> None:
    gate = hold(workspace.fake, taken="late")
    with running(workspace) as process:
        workspace.fake.wait_for(arrived(1))
        process.send_signal(signal.SIGTERM)
        assert process.stderr
        first = process.stderr.readline()
        gate.open()
        out, err = process.communicate(timeout=60)

    assert first.startswith("interrupted: ")
    assert (process.returncode, err) == (1, "The test was interrupted.\n")
    assert [incident.state for incident in workspace.fake.incidents] == ["resolved"]
    assert [each[1] for each in steps(out)] == ["trigger", "resolve"]


def test_two_signals_during_the_trigger_resolve_the_incident(
    workspace: Workspace,
) -> None:
    gate = hold(workspace.fake)
    with running(workspace) as process:
        workspace.fake.wait_for(lambda fake: fake.incidents)
        process.send_signal(signal.SIGTERM)
        assert process.stderr
        process.stderr.readline()
        out, err = interrupt(process, signal.SIGINT)
    gate.open()

    assert process.returncode == 1
    [incident] = workspace.fake.incidents
    assert incident.state == "resolved"
    assert [each[1] for each in steps(out)] == ["resolve"]
    late_one = f"if it arrives late, {incident.dedup_key} opens at acme/checkout."
    assert err == f"The trigger was not answered: {late_one}\nThe test was interrupted.\n"


def test_a_second_signal_while_closing_reports_the_open_incident(
    workspace: Workspace,
) -> None:
    gate = hold(workspace.fake, after=2, taken="late")
    with running(workspace) as process:
        workspace.fake.wait_for(arrived(3))
        process.send_signal(signal.SIGTERM)
        assert process.stderr
        process.stderr.readline()
        _, err = interrupt(process, signal.SIGTERM)

    assert process.returncode == 1
    [incident] = workspace.fake.incidents
    assert incident.state == "acknowledged"
    assert err == f"STILL OPEN at acme/checkout: {incident.dedup_key}; close it there\n"
    gate.open()


# --- providers of every kind


class Aimed(Page):
    """The recorder's action, with settings for one service."""

    aimed: Any = PageSettings()

    def settings_for(self, destination: Destination) -> Any:
        return self.aimed


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs ``alerthost test`` with actions, without pauses."""
    monkeypatch.setattr(service_test, "PAUSES", (0.0, 0.0, 0.0))
    file = tmp_path / "alerthost.toml"
    file.touch()

    def test(
        *actions: Page, service: str = "acme", accounts: tuple[str, ...] = ("acme",)
    ) -> tuple[int, str, str]:
        plugins = load([], own={"pager": PagerPlugin(*actions)})
        installations = tuple(plugins.installation("pager", name, {}) for name in accounts)
        loaded = Configuration(plugins, installations, ())
        monkeypatch.setattr(configuration, "load", lambda _: loaded)
        ran = CliRunner().invoke(main, ["test", service, "--config", str(file)])
        return ran.exit_code, ran.stdout, ran.stderr

    return test


def test_a_failed_resolve_is_retried(run: Any) -> None:
    action = Aimed()
    kinds = OutcomeKind
    action.outcomes.extend([kinds.DELIVERED] * 2 + [kinds.UNREACHABLE, kinds.THROTTLED])

    code, out, err = run(action)

    assert (code, err) == (0, "")
    assert action.operations == ["trigger", "acknowledge", "resolve", "resolve", "resolve"]
    assert [each[0] for each in steps(out)][2:] == ["unreachable", "throttled", "delivered"]


def test_an_incident_that_stays_open_is_shown_with_its_service(run: Any) -> None:
    action = Aimed()
    action.outcomes.extend([OutcomeKind.DELIVERED] * 2 + [OutcomeKind.UNREACHABLE] * 4)

    code, _, err = run(action)

    assert code == 1
    assert action.operations[2:] == ["resolve"] * 4
    assert err == f"STILL OPEN at acme/Everybody: {action.sent[0].key}; close it there\n"


def test_an_uncertain_incident_is_possibly_still_open(run: Any) -> None:
    action = Aimed()
    action.outcomes.extend([OutcomeKind.UNREACHABLE] * 6)

    code, _, err = run(action)

    assert code == 1
    assert err == f"POSSIBLY STILL OPEN at acme/Everybody: {action.sent[0].key}; close it there\n"


def test_an_uncertain_trigger_is_resolved_but_not_acknowledged(run: Any) -> None:
    action = Aimed()
    action.outcomes.append(OutcomeKind.FAULTED)

    code, _, err = run(action)

    assert code == 1
    assert action.operations == ["trigger", "acknowledge", "resolve"]
    assert f"if it arrives late, {action.sent[0].key} opens at acme/Everybody." in err


def test_a_failed_acknowledge_does_not_keep_the_incident_open(run: Any) -> None:
    action = Aimed()
    action.outcomes.extend([OutcomeKind.DELIVERED, OutcomeKind.REJECTED])

    code, _, err = run(action)

    assert (code, err) == (1, "")
    assert action.operations == ["trigger", "acknowledge", "resolve"]


def test_an_action_without_resolve_is_shown(run: Any) -> None:
    action = Aimed(SILENT)

    code, out, err = run(action)

    assert code == 0
    assert action.operations == ["trigger"]
    reported = f"pager.page cannot resolve: close {action.sent[0].key} at the provider"
    assert err == f"{reported}.\n"
    assert "Test OK at acme/Everybody: opened." in out


def test_an_action_without_acknowledge_is_closed(run: Any) -> None:
    action = Aimed(Capabilities(resolve=True))

    code, out, _ = run(action)

    assert code == 0
    assert action.operations == ["trigger", "resolve"]
    assert "Test OK at acme/Everybody: opened and closed." in out


def test_a_suppressed_trigger_opens_nothing(run: Any) -> None:
    action = Aimed()
    action.behaviour["plan"] = lambda alert: [
        Suppression("pager.page", "acme", "all asleep", "night-watch", notes=("it sulked",))
    ]

    code, _, err = run(action)

    assert code == 1
    assert err.splitlines() == [
        "suppressed at acme: all asleep",
        "note: it sulked",
        "No incident was opened at acme/Everybody.",
    ]


def test_planning_failures_are_shown(run: Any) -> None:
    action = Aimed()
    action.behaviour["follow_up"] = lambda incident, alert: 1 / 0

    code, _, err = run(action)

    assert code == 1
    failed, again, still = err.splitlines()
    assert failed == again
    assert "the action pager.page could not follow up: it failed at" in failed
    assert still.startswith("STILL OPEN at acme/Everybody: alerthost-test/")


def test_notes_are_shown(run: Any) -> None:
    class Noting(Aimed):
        def plan(self, *arguments: Any, **named: Any) -> Any:
            planned = super().plan(*arguments, **named)
            return [attrs.evolve(each, notes=("an enricher sulked",)) for each in planned]

    _, _, err = run(Noting())

    assert err == "note: an enricher sulked\n"


def test_a_provider_without_settings_for_one_service_is_an_error(run: Any) -> None:
    code, _, err = run(Page(), service="acme/Everybody")

    assert code == 2
    reason = "pager cannot be tested: no action can be limited to one service"
    assert err.endswith(f"Error: {reason}\n")


def test_an_account_without_services_is_an_error(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pager, "destinations", lambda *_: [])

    code, _, err = run(Aimed())

    assert code == 2
    assert err.endswith("Error: 'acme' has no service\n")


def test_an_action_that_can_resolve_is_preferred(run: Any) -> None:
    class Announcing(Aimed):
        name = "pager.announce"

    announcing, paging = Announcing(SILENT), Aimed(IDEMPOTENT)

    assert run(announcing, paging)[0] == 0
    assert announcing.operations == []
    assert paging.operations[0] == "trigger"


def _raise_secret(*_: object) -> None:
    raise RuntimeError("secret")


@pytest.mark.parametrize("service", ["acme", "acme/Everybody"])
def test_a_provider_that_cannot_list_its_services_is_an_error(
    run: Any, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pager, "destinations", _raise_secret)

    code, _, err = run(Aimed(), service=service)

    assert code == 2
    reason = "provider pager cannot list its destinations: it failed at tests/host/test_service"
    assert f"Error: {reason}" in err


def test_a_broken_account_does_not_prevent_the_test_of_another(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def destinations(_: object, installation: Any) -> Any:
        return _raise_secret() if installation.name == "broken" else [Destination("all", "All")]

    monkeypatch.setattr(Pager, "destinations", destinations)

    code, out, _ = run(Aimed(), accounts=("broken", "acme"))

    assert code == 0
    assert out.startswith("Test of acme/All under the key ")
