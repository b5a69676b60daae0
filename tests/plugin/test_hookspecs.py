"""The documentation of the hooks: its structure, and its examples."""

from __future__ import annotations

import inspect
import textwrap
from types import ModuleType
from typing import Any

import pytest

from hostspec import Alert, Answer
from hostspec.plugins import Plugins, load
from pagerduty_plugin import Enrich, Suppress
from pagerduty_plugin.hookspecs import PagerDutySpec

HOOKS = {name: each for name, each in vars(PagerDutySpec).items() if name.startswith("pagerduty_")}

ARGUMENTS: dict[str, Any] = {
    "severity": "error",
    "services": ("checkout", "platform"),
    "chosen": ("checkout",),
    "installation": "acme",
    "rule": "Pages",
}


def text_of(hook: str) -> str:
    text = inspect.getdoc(HOOKS[hook])
    assert text
    return text


def arguments_of(hook: str) -> list[str]:
    return [name for name in inspect.signature(HOOKS[hook]).parameters if name != "self"]


def example(hook: str) -> ModuleType:
    """Return a plugin made of a hook's example."""
    _, _, block = text_of(hook).partition("Example::\n")
    module = ModuleType("an_example")
    exec(compile(textwrap.dedent(block), f"<example of {hook}>", "exec"), vars(module))
    return module


def ask(hook: str, alert: Alert) -> Any:
    """Load the example beside the plugin, and call its hook."""
    plugins: Plugins = load(["pagerduty"], own={"example": example(hook)})
    asked = {name: value for name, value in ARGUMENTS.items() if name in arguments_of(hook)}
    answers = plugins.hooks.each(hook, alert=alert, **asked)
    assert not [answer for answer in answers if answer.failure]
    (value,) = [answer.value for answer in answers] or [None]
    return value


def test_there_are_four_hooks() -> None:
    assert list(HOOKS) == [
        "pagerduty_severity",
        "pagerduty_dedup_key",
        "pagerduty_services",
        "pagerduty_enrich",
    ]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_documents_its_call_arguments_and_example(hook: str) -> None:
    text = text_of(hook)
    sections = ("\nCalled ", "\nArgs:\n", "\nReturns:\n", "\nExample::\n")
    positions = [text.index(section) for section in sections]
    assert positions == sorted(positions)
    assert "Every implementation runs" in " ".join(text.split())
    arguments = text[positions[1] : positions[2]]
    for name in arguments_of(hook):
        assert f"\n    {name}: " in arguments


@pytest.mark.parametrize("hook", HOOKS)
def test_no_hook_gets_settings_or_an_installation(hook: str) -> None:
    """Both contain secrets or references to secrets; hooks get only names."""
    assert inspect.signature(HOOKS[hook]).parameters["installation"].annotation == "str"
    assert "settings" not in arguments_of(hook)


def test_the_example_of_severity_decides() -> None:
    assert ask("pagerduty_severity", Alert("k", labels={"tier": "gold"})) == "critical"
    assert ask("pagerduty_severity", Alert("k")) is None


def test_the_example_of_dedup_key_decides() -> None:
    alert = Alert("k", scope="shop", labels={"cluster": "eu"})
    assert ask("pagerduty_dedup_key", alert) == "shop/cluster/eu"
    alert = Alert("k", scope="shop/cluster/eu", labels={"cluster": "1"})
    assert ask("pagerduty_dedup_key", alert) == "shop%2Fcluster%2Feu/cluster/1"
    assert ask("pagerduty_dedup_key", Alert("k")) is None


def test_the_example_of_services_chooses_and_suppresses() -> None:
    assert ask("pagerduty_services", Alert("k", labels={"owner": "platform"})) == ["platform"]
    assert ask("pagerduty_services", Alert("k", labels={"owner": "unknown"})) is None
    maintained = Alert("k", labels={"maintenance": "yes"})
    assert ask("pagerduty_services", maintained) == Suppress("the source is in maintenance")


def test_the_example_of_enrich_adds() -> None:
    added = ask("pagerduty_enrich", Alert("k", class_="disk"))
    assert isinstance(added, Enrich)
    assert added.details == {"runbook": "disk"}
    assert [link.href for link in added.links] == ["https://runbooks.example.com/disk"]


def test_without_plugins_there_are_no_answers() -> None:
    from pagerduty_plugin.overrides import NoHooks

    answers: tuple[Answer, ...] = tuple(NoHooks().each("pagerduty_severity"))
    assert answers == ()
