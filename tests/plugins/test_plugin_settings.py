"""A plugin declares settings, and is configured before it is used."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from hostspec import Fault, Secret, hookimpl, setting
from hostspec.plugins import PluginsError, PluginState, load, survey


@attrs.frozen
class Shifts:
    """The settings of the plugin of these tests."""

    timezone: str
    teams: dict[str, str] = attrs.field(factory=dict)
    token: Secret | None = setting("Token", help="Of the calendar.", default=None)


class Night:
    """A plugin with settings."""

    def __init__(self, kind: Any = Shifts) -> None:
        self.kind = kind
        self.calls: list[Any] = []

    @hookimpl
    def hostspec_settings(self) -> Any:
        return self.kind

    @hookimpl
    def hostspec_configure(self, settings: Any) -> None:
        if settings == Shifts("Nowhere"):
            raise LookupError
        self.calls.append(settings)

    @hookimpl
    def hostspec_providers(self) -> Any:
        self.calls.append("used")
        return []


def faults(plugin: object, settings: Any) -> tuple[str, ...]:
    with pytest.raises(PluginsError) as raised:
        load([], own={"night": plugin}, settings=settings)
    return tuple(map(str, raised.value.failed[0].faults)) or (raised.value.failed[0].reason,)


def test_plugin_is_configured_before_its_use() -> None:
    night = Night()

    plugins = load([], own={"night": night}, settings={"night": {"timezone": "Europe/Berlin"}})

    assert night.calls == [Shifts("Europe/Berlin"), "used"]
    assert plugins.settings == {"night": Shifts}


def test_all_faults_are_reported_at_once() -> None:
    given = {"night": {"timezone": 3, "teams": {"db": 7}, "tokn": "env:X"}}

    words = faults(Night(), given)

    assert [fault.partition(":")[0] for fault in words] == ["timezone", "teams.db", "tokn"]
    assert "did you mean 'token'?" in words[2]


def test_required_settings_are_required() -> None:
    assert faults(Night(), {}) == ("timezone: missing; it is required",)


def test_unknown_table_is_refused_with_the_nearest_name() -> None:
    given = {"night": {"timezone": "UTC"}, "nigth": {}}
    with pytest.raises(PluginsError) as raised:
        load([], own={"night": Night()}, settings=given)

    (info,) = raised.value.failed
    assert (info.name, info.faults) == (
        "nigth",
        (Fault("", "'nigth' is unknown; did you mean 'night'?"),),
    )


def test_plugin_without_settings_accepts_none() -> None:
    class Silent:
        @hookimpl
        def hostspec_delivered(self) -> None: ...

    assert faults(Silent(), {"night": {}}) == ("the plugin has none",)
    assert load([], own={"night": Silent()}).settings == {}


@pytest.mark.parametrize("kind", [None, 7, {"timezone": str}, dict])
def test_invalid_settings_class_is_refused(kind: Any) -> None:
    (words,) = faults(Night(kind), {})

    assert words.startswith("hostspec_settings returned no settings class: ")


def test_failing_settings_class_is_refused_without_its_message() -> None:
    @attrs.frozen(kw_only=True)
    class Crashing:
        since: str = attrs.field(factory=lambda: {}["canary"])

    (words,) = faults(Night(Crashing), {})

    assert words.startswith("hostspec_settings returned a class that failed at tests/plugins/")
    assert "canary" not in words


def test_failing_plugin_is_refused() -> None:
    class Failing:
        @hookimpl
        def hostspec_settings(self) -> Any:
            raise LookupError

        @hookimpl
        def hostspec_configure(self, settings: Any) -> None: ...

    assert "hostspec_settings failed at tests/plugins/" in faults(Failing(), {})[0]
    given = {"night": {"timezone": "Nowhere"}}
    assert "hostspec_configure failed at tests/plugins/" in faults(Night(), given)[0]


@pytest.mark.parametrize("hook", ["hostspec_settings", "hostspec_configure"])
def test_settings_and_configure_go_together(hook: str) -> None:
    class Half:
        @hookimpl(specname=hook)
        def only(self) -> None: ...

    (words,) = faults(Half(), {})

    assert words.startswith("implements only one of hostspec_settings and hostspec_configure")


def test_survey_without_settings_configures_nothing() -> None:
    night = Night()

    plugins = survey([], own={"night": night})

    assert night.calls == ["used"]
    assert plugins.settings == {"night": Shifts}
    assert [info.state for info in plugins.infos if info.name == "night"] == [PluginState.ACTIVE]
