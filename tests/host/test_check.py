"""``alerthost check`` reports errors and unreachable services, and opens no incident."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner
from recorder import Page, PagerPlugin, PageSettings, plugins_of, rule_of
from workspace import CHECKOUT, PLATFORM, Workspace, line

from alerthost.cli.main import main
from alerthost.config import configuration
from alerthost.config.configuration import Configuration
from hostspec import Alert, Outcome, OutcomeKind, Preview, Severity, Suppression
from hostspec.plugins import load
from pagerduty_plugin.testing import captive_portal, failing, refusing, reset, throttling

PAGES = (
    "rule           Pages: Send a notification to PagerDuty account acme and services "
    "checkout, platform with default severity"
)
CONFIGURATION_OK = "Configuration OK: 1 installation, 2 services, 1 rule"


def test_a_valid_configuration_is_summarised_and_nothing_is_sent(workspace: Workspace) -> None:
    run = workspace.alerthost("check")

    assert (run.returncode, run.stderr) == (0, "")
    plugin, *rest = run.stdout.splitlines()
    assert plugin.startswith("plugin         pagerduty ")
    assert rest == [
        "installation   acme: checkout, platform",
        PAGES,
        f"{CONFIGURATION_OK}. No event was sent.",
    ]
    assert workspace.fake.requests == ()


@pytest.mark.parametrize(
    ("severity", "reported"),
    [
        ("default", "severities: debug -> info; others as given"),
        (
            "warning",
            "severities: critical -> warning, error -> warning, info -> warning, "
            "debug -> warning; others as given",
        ),
    ],
)
def test_verbose_shows_what_each_severity_is_sent_as(
    workspace: Workspace, severity: str, reported: str
) -> None:
    workspace.configure(('severity = "default"', f'severity = "{severity}"'))

    run = workspace.alerthost("check", "-v")

    assert f"               {reported}" in run.stdout.splitlines()


def test_every_error_is_shown_with_its_line_and_counted(workspace: Workspace) -> None:
    workspace.configure(
        ('use = "pagerduty.trigger"', 'use = "pagerduty.triger"'),
        ('installation = "acme"', 'installation = "amce"'),
    )
    (workspace.folder / "pd_platform").write_text("u+abcdefghijklmnop_q", encoding="utf-8")

    run = workspace.alerthost("check", "--online", env={"PD_CHECKOUT": None})

    assert run.returncode == 2
    reported = run.stderr.splitlines()
    assert [text.partition(": ")[0] for text in reported] == [
        "alerthost.toml, line 10",
        "alerthost.toml, line 11",
        "alerthost.toml, line 19",
        "alerthost.toml, line 18",
    ]
    assert "did you mean 'pagerduty.trigger'?" in run.stderr
    assert "the environment variable PD_CHECKOUT is not set" in run.stderr
    assert "as a REST API key has" in run.stderr
    assert run.stdout == "4 faults. No event was sent.\n"
    assert workspace.fake.requests == ()


def test_a_missing_file_is_an_error(workspace: Workspace) -> None:
    run = workspace.alerthost("check", "--config", "none.toml")

    assert run.returncode == 2
    assert (
        run.stderr == "none.toml: no such file; create one with `alerthost init`, or use --config\n"
    )
    assert run.stdout == "1 fault. No event was sent.\n"


def test_errors_are_printed_as_json(workspace: Workspace) -> None:
    run = workspace.alerthost("check", "--json", env={"PD_CHECKOUT": None})

    assert (run.returncode, run.stderr) == (2, "")
    assert json.loads(run.stdout) == {
        "well": False,
        "faults": [
            {
                "path": "alerthost.toml, line 10: installation 'acme': "
                "settings.services[0].integration_key",
                "reason": "the environment variable PD_CHECKOUT is not set",
            }
        ],
    }


def test_online_reaches_every_service_and_changes_nothing(workspace: Workspace) -> None:
    workspace.alerthost("send", given=line())
    before = workspace.fake.incidents
    sent = len(workspace.fake.requests)

    for _ in range(2):
        run = workspace.alerthost("check", "--online")

        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout.splitlines()[3:] == [
            f"reached        acme/checkout     POST {workspace.fake.url}/v2/enqueue",
            f"reached        acme/platform     POST {workspace.fake.url}/v2/enqueue",
            "Reached: the provider accepted a message that changes nothing. A probe cannot",
            "show which service a key belongs to, or whom it pages: `alerthost test` opens",
            "an incident there, and closes it.",
            f"{CONFIGURATION_OK}, 2 reached. No event was sent.",
        ]
    assert workspace.fake.incidents == before
    probes = workspace.bodies()[sent:]
    assert sorted(body["routing_key"] for body in probes) == sorted(2 * [CHECKOUT, PLATFORM])
    assert {body["event_action"] for body in probes} == {"resolve"}
    keys = {body["dedup_key"] for body in probes}
    assert len(keys) == 4
    assert not keys & {incident.dedup_key for incident in before}


@pytest.mark.parametrize(
    ("how", "reported"),
    [
        (reset(), "unreachable    acme/checkout     no connection: "),
        (captive_portal(), "unreachable    acme/checkout     the reply is not PagerDuty's: 200: "),
        (failing(503), "faulted        acme/checkout     503: "),
        (throttling(), "throttled      acme/checkout     429: "),
        (
            refusing(),
            "misconfigured  acme/checkout     400: Invalid routing key; a key of another region, ",
        ),
    ],
    ids=["reset", "portal", "503", "429", "key"],
)
def test_a_service_that_is_not_reached_is_shown_with_its_reason(
    workspace: Workspace, how: Any, reported: str
) -> None:
    workspace.fake.misbehave(how, key=CHECKOUT)

    run = workspace.alerthost("check", "--online")

    assert run.returncode == 1
    first, second = run.stdout.splitlines()[3:5]
    assert first.startswith(reported)
    assert second.startswith("reached        acme/platform")
    assert run.stdout.splitlines()[-1] == "1 service of 2 not reached. No event was sent."
    assert workspace.fake.incidents == ()


def test_the_limits_of_a_probe_are_shown_only_if_one_succeeded(workspace: Workspace) -> None:
    workspace.fake.misbehave(failing(503))

    run = workspace.alerthost("check", "--online")

    assert run.returncode == 1
    assert "eached:" not in run.stdout
    assert run.stdout.splitlines()[-1] == "2 services of 2 not reached. No event was sent."


def test_probes_are_printed_as_json(workspace: Workspace) -> None:
    found = json.loads(workspace.alerthost("check", "--json").stdout)
    online = json.loads(workspace.alerthost("check", "--online", "--json").stdout)

    assert (found["well"], found["faults"], found["reached"]) == (True, [], None)
    assert found["installations"] == [
        {"name": "acme", "provider": "pagerduty", "services": ["checkout", "platform"]}
    ]
    [action] = found["rules"][0]["actions"]
    assert action["action"] == "pagerduty.trigger"
    assert list(action["severities"]) == ["critical", "error", "warning", "info", "debug"]
    assert [(each["service"], each["outcome"]) for each in online["reached"]] == [
        ("acme/checkout", "delivered"),
        ("acme/platform", "delivered"),
    ]


def test_no_key_is_ever_shown(workspace: Workspace) -> None:
    for given in (CHECKOUT, "z" * 32, "u+abcdefghijklmnop_q"):
        for how in ((), ("--json",)):
            run = workspace.alerthost("check", "--online", "-v", *how, env={"PD_CHECKOUT": given})
            shown = run.stdout + run.stderr
            assert not any(key in shown for key in (given, PLATFORM))


# --- plugins of every kind


class Probing(Page):
    """Returns the given values when it is probed, aimed or described."""

    probed: Any = Outcome(OutcomeKind.DELIVERED)
    described: Any = "Page everybody"
    aimed: Any = PageSettings()

    def describe(self, settings, installation):
        return _said(self.described)

    def probe(self, destination, installation):
        return _said(self.probed)

    def settings_for(self, destination):
        return _said(self.aimed)

    def preview(self, delivery, installation, context):
        return Preview("the pager", {})


def _said(value: Any) -> Any:
    if isinstance(value, BaseException):
        raise value
    return value


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return a function that runs ``alerthost check`` on actions; it returns code and lines."""
    file = tmp_path / "alerthost.toml"
    file.write_text("[[rules]]\n[[rules.actions]]\nuse = 'pager.page'\n", encoding="utf-8")

    def run(*actions: Page) -> tuple[int, list[str], list[str]]:
        plugins = load([], own={"pager": PagerPlugin(*actions)})
        rule = rule_of(plugins)
        loaded = Configuration(plugins, (rule.actions[0].installation,), (rule,))
        monkeypatch.setattr(configuration, "load", lambda source, **_: loaded)
        command = ["check", "--config", str(file), "--online"]
        ran = CliRunner().invoke(main, [*command, "--verbose"])
        if "Aborted!" not in ran.stderr:
            json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
        return ran.exit_code, ran.stdout.splitlines(), ran.stderr.splitlines()

    return run


def test_a_service_without_a_probe_is_not_an_error(checked: Any) -> None:
    action = Probing()
    action.probed = None

    code, out, err = checked(action)

    assert (code, err) == (0, [])
    assert "not probed     acme/Everybody    pager has no probe" in out
    assert (
        out[-1]
        == "Configuration OK: 1 installation, 1 service, 1 rule, 0 reached. No event was sent."
    )


@pytest.mark.parametrize("error", [RuntimeError("secret"), SystemExit("secret")])
def test_an_exception_of_a_probe_is_shown_without_its_message(
    checked: Any, error: BaseException
) -> None:
    action = Probing()
    action.probed = error

    code, out, _ = checked(action)

    assert code == 1
    [reported] = [text for text in out if text.startswith("faulted")]
    assert "the action pager.page failed to probe: it failed at " in reported
    assert "secret" not in reported


@pytest.mark.parametrize("aimed", [None, RuntimeError("secret")])
def test_a_probe_needs_no_settings_for_the_service(checked: Any, aimed: Any) -> None:
    action = Probing()
    action.aimed = aimed

    code, out, _ = checked(action)

    assert code == 0
    assert "reached        acme/Everybody" in out


def test_a_failed_description_is_shown(checked: Any) -> None:
    action = Probing()
    action.described = RuntimeError("secret")

    code, out, _ = checked(action)

    assert code == 0
    [reported] = [text for text in out if text.startswith("rule")]
    assert reported.startswith("rule           Pages: Page a team (no description: it ")


def test_a_severity_that_cannot_be_planned_is_an_error_with_its_line(checked: Any) -> None:
    action = Probing()
    sound = Probing().plan

    def plan(alert):
        if alert.severity is Severity.DEBUG:
            raise RuntimeError("secret")
        return sound(alert, PageSettings(), rule_of(plugins_of(action)).actions[0].installation)

    action.behaviour["plan"] = plan
    code, out, err = checked(action)

    assert code == 2
    [reported] = err
    place = "line 2: rule 1: actions[0]: an alert of severity debug: "
    assert f"{place}the action pager.page could not plan: it failed at " in reported
    assert "secret" not in reported
    assert out == ["1 fault. No event was sent."]
    assert action.sent == []


def test_severity_that_a_rule_of_the_store_cannot_plan_is_an_error(
    checked: Any, tmp_path: Path
) -> None:
    action = Probing()

    def plan(_: Alert) -> None:
        raise RuntimeError

    action.behaviour["plan"] = plan
    (tmp_path / "alerthost.toml").write_text("", encoding="utf-8")  # the rule is not of the file
    code, _, err = checked(action)

    assert code == 2
    assert len(err) == len(Severity)
    assert "'Pages': actions[0]: an alert of severity critical: " in err[0]


def test_suppressed_severities_and_notes_are_shown(checked: Any) -> None:
    action = Probing()
    sound = Probing().plan

    def plan(alert):
        if alert.severity is Severity.DEBUG:
            return [
                Suppression(
                    "pager.page",
                    "acme",
                    "away",
                    "night-watch",
                    notes=("another failed",),
                )
            ]
        if alert.severity is Severity.INFO:
            return []
        installation = rule_of(plugins_of(action)).actions[0].installation
        planned = sound(alert, PageSettings(), installation)
        return [attrs.evolve(each, notes=("an enricher sulked",)) for each in planned]

    action.behaviour["plan"] = plan
    code, out, err = checked(action)

    assert code == 0
    reported = "severities: info -> nothing, debug -> suppressed; others as given"
    assert f"               {reported}" in out
    assert err == [
        "note: rule 'Pages': no firing alert of info is sent",
        "note: rule 'Pages': an enricher sulked",
        "note: rule 'Pages': suppressed: away",
        "note: rule 'Pages': another failed",
    ]


def test_an_installation_without_services_is_shown(
    checked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["recorder"].Pager, "destinations", lambda *_: [])

    code, out, _ = checked(Probing())

    assert code == 0
    assert "installation   acme: no services" in out
    assert (
        out[-1]
        == "Configuration OK: 1 installation, 0 services, 1 rule, 0 reached. No event was sent."
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            RuntimeError("secret"),
            "cannot list its destinations: it failed at tests/host/",
        ),
        (
            SystemExit("secret"),
            "cannot list its destinations: it failed at tests/host/",
        ),
        (None, "cannot list its destinations: it failed at alerthost/config/plugins.py:"),
        (["all"], "lists an object that is not a Destination"),
    ],
)
def test_a_provider_that_cannot_list_its_services_is_an_error(
    checked: Any, monkeypatch: pytest.MonkeyPatch, answer: Any, reason: str
) -> None:
    monkeypatch.setattr(sys.modules["recorder"].Pager, "destinations", lambda *_: _said(answer))
    action = Probing()

    code, out, err = checked(action)

    assert code == 2
    [reported] = err
    assert reported.startswith(f"installation 'acme': provider pager {reason}")
    assert "secret" not in reported
    assert out == ["1 fault. No event was sent."]
    assert action.sent == []


def test_an_error_of_an_installation_in_the_file_has_its_line(
    checked: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "alerthost.toml"
    table = "[[installations]]\nprovider = 'pager'\nname = 'acme'\n"
    file.write_text(table + file.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(sys.modules["recorder"].Pager, "destinations", lambda *_: [None])

    _, _, [reported] = checked(Probing())

    assert reported.startswith(
        f"{file}, line 1: installation 'acme': provider pager lists an object"
    )


def test_a_keyboard_interrupt_ends_the_check(checked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = KeyboardInterrupt()
    monkeypatch.setattr(sys.modules["recorder"].Pager, "destinations", lambda *_: _said(answer))

    code, out, err = checked(Probing())

    assert (code, out, err[-1]) == (1, [], "Aborted!")


def test_the_first_action_that_can_probe_a_service_does(checked: Any) -> None:
    class Silent(Probing):
        name = "pager.announce"
        probed = None

    code, out, _ = checked(Silent(), Probing())

    assert code == 0
    assert "reached        acme/Everybody    the pager" in out
