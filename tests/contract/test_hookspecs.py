"""Every hook's text is a contract, and every example in it runs."""

from __future__ import annotations

import inspect
import logging
import sys
import textwrap
from collections.abc import Sequence
from types import ModuleType

import attrs
import pluggy
import pytest

import hostspec
from hostspec import (
    Action,
    Alert,
    Answer,
    Delivery,
    Hooks,
    Identity,
    IncidentRef,
    Installation,
    Operation,
    Outcome,
    OutcomeKind,
    Provider,
    Receipt,
    SendContext,
    Severity,
    structure,
)
from hostspec.hookspecs import PROJECT, HostSpec

HOOKS = {name: member for name, member in vars(HostSpec).items() if name.startswith(PROJECT)}

RECEIPT = Receipt(
    "1",
    Delivery(
        Operation.TRIGGER,
        IncidentRef("pager.page", "acme", "all", "/db-1/disk"),
        Identity("", "db-1/disk"),
        Severity.ERROR,
    ),
    Outcome(OutcomeKind.REJECTED, "too long"),
)


class NoHooks:
    """No plugin extends the examples."""

    def each(self, _name: str, /, **_arguments: object) -> Sequence[Answer]:
        return ()

    def reject(self, _name: str, _answer: Answer, _reason: str, /) -> None: ...


def example(hook: str) -> str:
    _, _, block = inspect.getdoc(HOOKS[hook]).partition("Example::\n")  # type: ignore[union-attr]
    return textwrap.dedent(block)


@pytest.fixture
def manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(HostSpec)
    return manager


@pytest.fixture
def plugin(
    request: pytest.FixtureRequest, manager: pluggy.PluginManager, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    """Return the example of a hook as a module that is registered as a plugin."""
    module = ModuleType("an_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    code = compile(
        example(request.param), f"<example of {request.param}>", "exec", dont_inherit=True
    )
    exec(code, vars(module))
    manager.register(module)
    manager.check_pending()
    (caller,) = manager.get_hookcallers(module) or ()
    assert caller.name == request.param
    return module


def of(hook: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("plugin", [hook], indirect=True, ids=[hook])


def test_hooks_are_complete() -> None:
    assert set(HOOKS) == {
        "hostspec_addhooks",
        "hostspec_settings",
        "hostspec_configure",
        "hostspec_providers",
        "hostspec_actions",
        "hostspec_delivered",
        "hostspec_delayed",
        "hostspec_undelivered",
        "hostspec_superseded",
    }
    assert PROJECT == "hostspec"


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_documents_call_arguments_and_example(hook: str) -> None:
    text = inspect.getdoc(HOOKS[hook])
    assert text is not None
    names = list(inspect.signature(HOOKS[hook]).parameters)[1:]
    sections = ("\nCalled ", *(["\nArgs:\n"] if names else []), "\nExample::\n")
    positions = [text.index(section) for section in sections]
    assert positions == sorted(positions)
    assert "Every implementation runs" in " ".join(text.split())
    arguments = text[positions[1] :].partition("\n\n")[0]
    for name in names:
        assert f"\n    {name}: " in arguments
    returns = inspect.signature(HOOKS[hook]).return_annotation
    assert ("\nReturns:\n" in text) == (returns not in (None, "None"))


@pytest.mark.parametrize("hook", HOOKS)
def test_every_example_uses_public_names(hook: str) -> None:
    code = example(hook)
    assert f"def {hook}(" in code
    assert "@hookimpl" in code
    for line in code.splitlines():
        assert not line.startswith("from hostspec."), "examples import from hostspec itself"


@of("hostspec_addhooks")
def test_addhooks_example_adds_a_hook(manager: pluggy.PluginManager, plugin: ModuleType) -> None:
    manager.hook.hostspec_addhooks.call_historic(kwargs={"pluginmanager": manager})
    assert "pager_severity" in vars(manager.hook)

    class Extension:
        @hostspec.hookimpl
        def pager_severity(self, alert: Alert) -> str:
            return f"worse than {alert.severity}"

    manager.register(Extension())
    manager.check_pending()
    alert = Alert("k", severity="info")
    assert manager.hook.pager_severity(alert=alert) == ["worse than info"]


@of("hostspec_addhooks")
def test_addhooks_reaches_later_plugins(manager: pluggy.PluginManager, plugin: ModuleType) -> None:
    manager.unregister(plugin)
    manager.hook.hostspec_addhooks.call_historic(kwargs={"pluginmanager": manager})
    assert "pager_severity" not in vars(manager.hook)
    manager.register(plugin)
    assert "pager_severity" in vars(manager.hook)


@of("hostspec_settings")
def test_settings_example_declares_a_class(
    manager: pluggy.PluginManager, plugin: ModuleType
) -> None:
    (kind,) = manager.hook.hostspec_settings()
    assert (structure(kind, {"end": 7}).begin, structure(kind, {"end": 7}).end) == (22, 7)


@of("hostspec_configure")
def test_configure_example_keeps_the_settings(
    manager: pluggy.PluginManager, plugin: ModuleType
) -> None:
    manager.hook.hostspec_configure(settings=7)
    assert plugin.current == 7


@of("hostspec_providers")
def test_providers_example_offers_a_provider(
    manager: pluggy.PluginManager, plugin: ModuleType
) -> None:
    hooks: Hooks = NoHooks()
    ((provider,),) = manager.hook.hostspec_providers(hooks=hooks)
    assert isinstance(provider, Provider)
    installation = provider.installation("acme", {})
    assert installation == Installation("pager", "acme", provider.settings())
    assert [ref.id for ref in provider.destinations(installation)] == ["all"]
    assert provider.check(installation) == []
    assert provider.demo() is None


@of("hostspec_actions")
def test_actions_example_plans_and_sends(
    manager: pluggy.PluginManager, plugin: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    ((action,),) = manager.hook.hostspec_actions(hooks=NoHooks())
    assert isinstance(action, Action)
    alert = Alert("db-1/disk", "Disk full", severity="critical")
    installation = Installation("pager", "acme", None)
    (delivery,) = action.plan(alert, action.settings(), installation, rule="Pages")
    assert delivery.ref == IncidentRef("pager.page", "acme", "all", '["", "db-1/disk"]')
    assert delivery.rules == ("Pages",)
    slashes = [
        action.plan(Alert(key, scope=scope), action.settings(), installation)[0].ref
        for scope, key in (("a/b", "c"), ("a", "b/c"))
    ]
    assert len(set(slashes)) == 2
    assert action.send(delivery, installation, SendContext()).delivered
    assert capsys.readouterr().out == "Disk full\n"


@of("hostspec_delivered")
def test_delivered_example_observes(
    manager: pluggy.PluginManager, plugin: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    manager.hook.hostspec_delivered(receipt=RECEIPT)
    assert caplog.messages == ["notified all"]


@of("hostspec_delayed")
def test_delayed_example_observes(
    manager: pluggy.PluginManager, plugin: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    manager.hook.hostspec_delayed(receipt=RECEIPT)
    assert caplog.messages == [f"db-1/disk is late: {RECEIPT.outcome}"]


@of("hostspec_undelivered")
def test_undelivered_example_observes(
    manager: pluggy.PluginManager, plugin: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    manager.hook.hostspec_undelivered(receipt=RECEIPT)
    manager.hook.hostspec_undelivered(receipt=attrs.evolve(RECEIPT, outcome=None, reason="dropped"))
    assert caplog.messages == ["db-1/disk: too long", "db-1/disk: dropped"]


@of("hostspec_superseded")
def test_superseded_example_observes(
    manager: pluggy.PluginManager, plugin: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    manager.hook.hostspec_superseded(receipt=attrs.evolve(RECEIPT, reason="it is over"))
    assert caplog.messages == ["db-1/disk: it is over"]


def test_every_example_has_a_test() -> None:
    """A new hook needs a test above that calls its example."""
    called: set[str] = set()
    for name, test in globals().items():
        if name.startswith("test_"):
            for mark in getattr(test, "pytestmark", []):
                if mark.args[0] == "plugin":
                    called.update(mark.args[1])
    assert called == set(HOOKS)
