"""The documentation lists exactly the names of the code."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import attrs
import click
import pytest
from shared import once, unmeasured

import hostspec
import hostspec.connect
import hostspec.plugins
import pagerduty_plugin
from alerthost.cli import service_test
from alerthost.cli.connect import DEFAULT_PORT
from alerthost.cli.main import main
from alerthost.cli.services import services
from alerthost.config.configuration import TABLES
from alerthost.http import app, request
from alerthost.http.metrics import Metrics
from alerthost.outbox import rate_limit
from alerthost.outbox.admin_rows import Backlog
from alerthost.outbox.maintenance import Patience
from hostspec import Alert, OutcomeKind, Severity, json_schema
from hostspec.alert.reader import LONGEST_KEY, LONGEST_LINE, MOST_ENTRIES, MOST_LABELS
from hostspec.connect import Discovery, InstallFlow
from hostspec.hookspecs import HostSpec
from hostspec.inprocess import memory
from hostspec.normalisation import DEEPEST, LONGEST_TEXT, MOST_CHARACTERS, MOST_REPAIRS, MOST_VALUES
from hostspec.plugins import isolation, load
from hostspec.settings import info_of, key_of
from pagerduty_plugin import (
    dedup_keys,
    event,
    template_check,
    template_functions,
    template_sandbox,
    templates,
    testing,
    truncate,
)
from pagerduty_plugin.constants import BASE_URLS, EVENTS_PER_MINUTE, MOST_EVENTS_PER_MINUTE
from pagerduty_plugin.hookspecs import PagerDutySpec
from pagerduty_plugin.http import rest
from pagerduty_plugin.settings import NetworkSettings
from pagerduty_plugin.testing import account, rest_api
from pagerduty_plugin.testing.cli import _parser

DOCS = Path(__file__).parents[2] / "docs"

_PUBLIC_OUTSIDE_THE_ROOT = (
    "hostspec.alert.FieldReader",
    "hostspec.alert.parse_json",
    "hostspec.delivery.coalesce",
    "hostspec.plugins.planning.merge",
    "hostspec.provider.Demo",
    "hostspec.provider.DestinationTable",
    "hostspec.provider.Table",
    "hostspec.errors.describe_error",
    "hostspec.hookspecs.HostSpec",
    "hostspec.hookspecs.PROJECT",
    "hostspec.normalisation.FrozenDict",
    "hostspec.normalisation.normalise",
    "hostspec.secret.LiteralSecretError",
    "hostspec.settings.SettingInfo",
    "hostspec.settings.secrets",
    "hostspec.structuring.settings_to_json",
    *(f"hostspec.text.{name}" for name in ("clean_text", "closest", "is_address", "is_blank")),
    *(f"hostspec.text.{name}" for name in ("is_loopback", "shorten", "unknown_name")),
    "hostspec.text.without_credentials",
)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the documentation as XML, with every warning an error."""
    pytest.importorskip("sphinx", reason="Sphinx is not installed")
    return once(tmp_path_factory, "docs-as-xml", _build)


def _build(folder: Path) -> None:
    strict = ("--fail-on-warning", "--nitpicky", "--quiet", "--builder", "xml")
    ran = subprocess.run(
        [sys.executable, "-m", "sphinx", *strict, str(DOCS), str(folder)],
        env=unmeasured(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def _signatures(page: Path) -> dict[str, list[str]]:
    """Return the documented names of a page, with their modules and arguments."""
    found = {}
    for signature in ET.parse(page).iter("desc_signature"):
        if "fullname" in signature.attrib:
            name = f"{signature.get('module')}.{signature.get('fullname')}"
            parameters = signature.iter("desc_parameter")
            found[name] = [parameter.findtext("desc_sig_name", "") for parameter in parameters]
    return found


def _arguments(function: object) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def _hooks(*specs: type) -> dict[str, list[str]]:
    return {
        name: _arguments(function)
        for spec in specs or (HostSpec, PagerDutySpec)
        for name, function in vars(spec).items()
        if name.startswith(("hostspec_", "pagerduty_"))
    }


@pytest.mark.proof
def test_the_reference_has_every_hook_with_its_arguments(built: Path) -> None:
    documented = _signatures(built / "reference/hooks.xml")
    shown = {}
    for spec in ("hostspec.hookspecs.HostSpec", "pagerduty_plugin.hookspecs.PagerDutySpec"):
        assert documented.pop(spec) == []
        shown |= {
            name: documented.pop(name) for name in tuple(documented) if name.startswith(f"{spec}.")
        }
    assert shown == {
        **{f"hostspec.hookspecs.HostSpec.{name}": of for name, of in _hooks(HostSpec).items()},
        **{
            f"pagerduty_plugin.hookspecs.PagerDutySpec.{name}": of
            for name, of in _hooks(PagerDutySpec).items()
        },
    }
    assert set(documented) == {f"pagerduty_plugin.{name}" for name in pagerduty_plugin.__all__}


def test_the_table_has_every_hook_with_its_arguments() -> None:
    listed = dict(_calls((DOCS / "reference/hooks.md").read_text(encoding="utf-8")))
    assert listed == _hooks()


@pytest.mark.parametrize("name", ["extension.md", "provider.md"])
def test_pages_call_hooks_by_their_arguments(name: str) -> None:
    hooks = _hooks()
    calls = list(_calls((DOCS / name).read_text(encoding="utf-8")))
    assert [call for call in calls if hooks.get(call[0]) != call[1]] == []


def _calls(text: str) -> Iterator[tuple[str, list[str]]]:
    for name, arguments in re.findall(r"`((?:hostspec|pagerduty)_\w+)\(([^)`]*)\)`", text):
        yield name, [argument.strip() for argument in arguments.split(",") if argument.strip()]


@pytest.mark.proof
def test_the_reference_has_every_public_name(built: Path) -> None:
    documented = _signatures(built / "reference/contract.xml")
    documented |= _signatures(built / "reference/hooks.xml")
    public = {f"hostspec.{name}" for name in hostspec.__all__}
    public |= {f"hostspec.plugins.{name}" for name in hostspec.plugins.__all__}
    assert public - set(documented) == set()


@pytest.mark.proof
def test_the_reference_has_no_name_that_is_not_public(built: Path) -> None:
    documented = _signatures(built / "reference/contract.xml")
    public = set(_PUBLIC_OUTSIDE_THE_ROOT)
    for module in (hostspec, hostspec.connect, hostspec.inprocess, hostspec.plugins):
        public |= {f"{module.__name__}.{name}" for name in module.__all__}
    assert {name for name in documented if _top(name, public) is None} == set()


def _top(name: str, public: set[str]) -> str | None:
    """Return the public name that contains a name, or is it."""
    return next((each for each in public if name == each or name.startswith(f"{each}.")), None)


@pytest.mark.proof
def test_the_page_on_testing_has_every_public_name(built: Path) -> None:
    documented = _signatures(built / "testing.xml")
    public = {f"pagerduty_plugin.testing.{name}" for name in testing.__all__}
    assert public - set(documented) == set()
    shown = documented["pagerduty_plugin.testing.FakePagerDuty"]
    assert [name for name in shown if name] == _arguments(testing.FakePagerDuty)


def test_the_page_on_testing_has_every_option() -> None:
    text = (DOCS / "testing.md").read_text(encoding="utf-8")
    options = {option for action in _parser()._actions for option in action.option_strings}
    assert {each for each in options - {"-h", "--help"} if f"`{each} " not in text} == set()


COMMANDS = ("operate.md", "accounts.md", "run.md", "store.md", "time.md")


def _commands(command: click.Command = main) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from _commands(below)


def _commands_text() -> str:
    return "\n".join((DOCS / name).read_text(encoding="utf-8") for name in COMMANDS)


def test_the_pages_on_commands_have_every_command_and_option() -> None:
    text = _commands_text()
    headings = re.findall(r"^### `alerthost ([\w-]+)", text, re.MULTILINE)
    assert sorted(headings) == sorted(main.commands)
    for name in services.commands:
        assert re.search(rf"^\| `{name} \w+", text, re.MULTILINE), name
    context = click.Context(main)
    for command in _commands():
        for parameter in command.get_params(context):
            if isinstance(parameter, click.Option):
                options = [option for option in parameter.opts if option.startswith("--")]
                assert [option for option in options if f"`{option}" not in text] == []


def test_the_pages_on_commands_name_no_option_that_is_not_there() -> None:
    context = click.Context(main, help_option_names=["-h", "--help"])
    there = {
        option
        for command in _commands()
        for parameter in command.get_params(context)
        for option in parameter.opts
    }
    text = re.sub(r"^\$ curl .*", "", _commands_text(), flags=re.MULTILINE)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) <= there


def test_the_page_on_running_has_every_metric() -> None:
    text = (DOCS / "run.md").read_text(encoding="utf-8")
    page, _ = Metrics(lambda: Backlog(0, 0, None), lambda: 0.0).page("")
    made = re.findall(r"^# TYPE (alerthost_\w+) ", page.decode(), re.MULTILINE)
    listed = re.findall(r"^\| `(alerthost_\w+)` \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(name.removesuffix("_total") for name in made)


def test_the_page_on_running_has_every_address() -> None:
    text = (DOCS / "run.md").read_text(encoding="utf-8")
    assert {path for path in app.PATHS if f"{path}`" not in text} == set()


def test_the_page_on_operating_has_every_outcome() -> None:
    text = (DOCS / "operate.md").read_text(encoding="utf-8")
    rows = text.partition("## Outcomes")[2].partition("## The network")[0]
    assert re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE) == list(OutcomeKind)


def test_the_page_on_providers_has_every_outcome() -> None:
    text = (DOCS / "provider.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(OutcomeKind)


def test_the_page_on_templates_has_every_name() -> None:
    rows = (DOCS / "templates.md").read_text(encoding="utf-8").partition("## Names")[2]
    rows = rows.partition("A template for a dedup key")[0]
    listed = [
        re.findall(r"`(\w+)`", line.split("|")[1])
        for line in re.findall(r"^\| `.*$", rows, re.MULTILINE)
    ]
    assert {name for names in listed for name in names} == templates.NAMES
    assert {name for names in listed[:4] for name in names} == templates.STEADY_NAMES


def test_page_on_templates_has_all_filters_and_tests() -> None:
    text = (DOCS / "templates.md").read_text(encoding="utf-8")
    for what, known in (
        ("filters", template_functions.FILTERS),
        ("tests", [name for name in template_functions.TESTS if name.isalpha()]),
        ("methods", template_functions.METHODS),
        ("functions", template_functions.FUNCTIONS),
        ("of `loop`", template_check.LOOP),
    ):
        [row] = re.findall(rf"^\| {what} \| (.*) \|$", text, re.MULTILINE)
        assert row.replace("`", "").split(", ") == sorted(known)


def test_the_page_on_alerts_has_every_field() -> None:
    text = (DOCS / "alert.md").read_text(encoding="utf-8")
    rows = text.partition("## Fields")[2].partition("## Invalid alerts")[0]
    listed = re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE)
    fields = {field.name.rstrip("_") for field in attrs.fields(Alert)} - {"repairs"}
    assert sorted(listed) == sorted(fields)


def test_the_page_on_alerts_has_every_synonym_of_a_severity() -> None:
    from hostspec.alert.fields import _SEVERITY_WORDS

    text = (DOCS / "alert.md").read_text(encoding="utf-8").partition("## Severities")[2]
    listed = {}
    for line in re.findall(r"^\| `.*$", text, re.MULTILINE):
        severity, *synonyms = re.findall(r"`(\w+)`", line)
        listed |= dict.fromkeys((severity, *synonyms), Severity(severity))
    assert listed == dict(_SEVERITY_WORDS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("accounts.md", f"`http://127.0.0.1:{DEFAULT_PORT}/callback`"),
        ("alert.md", f"more than {event.LONGEST_SUMMARY:,} characters"),
        ("alert.md", f"more than {dedup_keys.LONGEST_DEDUP_KEY:,} characters"),
        ("alert.md", f"more than {event.LARGEST_BODY:,} bytes"),
        ("alert.md", f"custom_details.{truncate.MARK}`"),
        ("alert.md", f"deeper than {DEEPEST} levels"),
        ("alert.md", f"scope of more than {LONGEST_KEY:,} characters"),
        ("alert.md", f"label, of more than {LONGEST_LINE:,} characters"),
        ("alert.md", f"more than {MOST_ENTRIES} links, {MOST_ENTRIES} images"),
        ("alert.md", f"or {MOST_LABELS:,} labels"),
        ("alert.md", f"a text of more than {LONGEST_TEXT:,} characters"),
        ("alert.md", f"{MOST_CHARACTERS:,} characters or {MOST_VALUES:,} values"),
        ("alert.md", f"more than {MOST_REPAIRS} repairs of one field"),
        ("embed.md", f"| {rest.PAGE} services to a page"),
        ("embed.md", f"at most {rest.MOST_SERVICES:,} services"),
        ("embed.md", f"that is at most {rest.LONGEST_WAIT:g} s; {rest.DEFAULT_WAIT:g} s if"),
        ("run.md", f"did not arrive within {request.BODY_WITHIN:g} s"),
        ("run.md", f"queued for {Patience().late / 60:g} minutes"),
        ("templates.md", f"| a template | {template_sandbox.LONGEST_TEMPLATE:,} characters"),
        ("templates.md", f"{template_check.DEEPEST} levels of nesting"),
        ("templates.md", f"| {template_functions.LONGEST_TEXT:,} characters"),
        ("templates.md", f"| {template_sandbox.WIDEST_INTEGER:,} bits"),
        ("templates.md", f"| {template_functions.LONGEST_RANGE:,} numbers"),
        ("templates.md", f"| {template_functions.MOST_ITEMS:,} items"),
        ("embed.md", f"at most {memory.MOST_INCIDENTS:,}"),
        ("extension.md", f"Its deadline is {isolation.DEADLINE:g} s"),
        ("extension.md", f"takes longer than {isolation.DEADLINE:g} s"),
        ("operate.md", f"ends after {NetworkSettings().timeout:g} s in all"),
        ("operate.md", f"has {NetworkSettings().connect_timeout:g} s of that"),
        ("extension.md", f"takes more than {isolation.DEADLINE:g} s"),
        ("operate.md", f"about {EVENTS_PER_MINUTE} a minute"),
        ("operate.md", f"about {EVENTS_PER_MINUTE} events a minute"),
        ("operate.md", f"up to {MOST_EVENTS_PER_MINUTE:,}: `rate_limit`"),
        ("operate.md", f"It uses {rate_limit.USABLE} % of it"),
        ("operate.md", f"keeps {100 - rate_limit.ORDINARY} % of that"),
        ("operate.md", f"more than {event.LATE.seconds} s after"),
        ("operate.md", f"The resolve is tried {len(service_test.PAUSES) + 1} times"),
        ("operate.md", f"`{BASE_URLS['us']}` or `{BASE_URLS['eu']}`"),
        ("reference/hooks.md", f"deadline of {isolation.DEADLINE:g} s"),
        ("testing.md", f"{account.RATE_LIMIT} by default"),
        ("testing.md", f"{rest_api.RATE_LIMIT} calls a minute"),
    ],
)
def test_pages_have_the_numbers_of_the_code(name: str, text: str) -> None:
    assert text in (DOCS / name).read_text(encoding="utf-8")


def _settings(kind: object) -> Iterator[tuple[str, str]]:
    """Return every setting of a settings class and of the classes in it, with its help."""
    for field in attrs.fields(kind):
        info = info_of(field)
        yield key_of(field), info.help or f"{info.label}."
        for argument in (field.type, *getattr(field.type, "__args__", ())):
            if attrs.has(argument):
                yield from _settings(argument)


def _ways(
    provider: hostspec.Provider[Any],
) -> Iterator[InstallFlow[Any, Any] | Discovery[Any, Any]]:
    """Return the ways to connect an account."""
    yield from filter(None, (provider.install_flow(), provider.discovery()))


@pytest.mark.proof
def test_the_reference_has_every_setting(built: Path) -> None:
    page = ET.parse(built / "reference/settings.xml")
    rows = {
        (entries[0], entries[3])
        for row in page.iter("row")
        if len(entries := ["".join(entry.itertext()).strip() for entry in row]) == 4
    }
    plugins = load(["pagerduty"])
    kinds = [
        *TABLES.values(),
        *(each.settings for each in plugins.providers.values()),
        *(each.settings for each in plugins.actions.values()),
        *(way.settings for each in plugins.providers.values() for way in _ways(each)),
    ]
    wanted = {setting for kind in kinds for setting in _settings(kind)}
    assert len(wanted) > 10
    missing = {
        (name, text)
        for name, text in wanted
        if not any(row[0] == name and row[1].startswith(text) for row in rows)
    }
    assert missing == set()
    assert {name for name, _ in rows} - {"setting"} == {name for name, _ in wanted}


@pytest.mark.proof
def test_the_reference_has_the_schemas(built: Path) -> None:
    page = ET.parse(built / "reference/settings.xml")
    shown = [json.loads("".join(block.itertext())) for block in page.iter("literal_block")]
    plugins = load(["pagerduty"])
    assert shown == [
        json_schema(plugins.providers["pagerduty"].settings),
        json_schema(plugins.actions["pagerduty.trigger"].settings),
        json_schema(plugins.actions["pagerduty.change"].settings),
    ]
