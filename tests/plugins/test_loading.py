"""Plugins are found, ordered, blocked, loaded and verified; each failure has its reason."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

import attrs
import pluggy
import pytest
from recorder import AccountSettings, Page, Pager, PagerPlugin

from hostspec import Capabilities, FaultsError, hookimpl, hookspec
from hostspec.plugins import PluginInfo, Plugins, PluginsError, PluginState, load, loading, survey
from hostspec.plugins.loading import installed
from hostspec.text import unknown_name

Install = Callable[..., str]

OBSERVES = """
@hookimpl
def hostspec_delivered(receipt):
    return __name__
"""

OFFERS = """
import attrs
from hostspec import Action, Capabilities, Outcome, OutcomeKind, Provider

@attrs.frozen
class Settings:
    pass

class Bell(Provider):
    name, label, settings = "bell", "Bell", Settings

    def destinations(self, installation):
        return []

class Ring(Action):
    name, label, provider, settings = "bell.ring", "Ring", "bell", Settings
    capabilities = Capabilities()

    def plan(self, alert, settings, installation, *, rule=""):
        return []

    def send(self, delivery, installation, context):
        return Outcome(OutcomeKind.DELIVERED)

@hookimpl
def hostspec_providers(hooks):
    return (Bell(),)

@hookimpl
def hostspec_actions():
    return [Ring()]
"""

ADDS_HOOKS = """
import sys

@hookspec
def bell_volume(alert):
    '''Say how loud; None for no opinion.'''

@hookimpl
def hostspec_addhooks(pluginmanager):
    pluginmanager.add_hookspecs(sys.modules[__name__])
"""

EXTENDS = """
@hookimpl
def bell_volume(alert):
    return "loud"
"""


def info_of(plugins: Plugins, name: str) -> PluginInfo:
    (info,) = [info for info in plugins.infos if info.name == name]
    return info


def reason_of(name: str = "mine", **own: object) -> str:
    """Return the reason why the one plugin that fails cannot be used."""
    with pytest.raises(PluginsError) as caught:
        load([], own=own)
    assert [info.name for info in caught.value.failed] == [name]
    assert name not in (own_info.name for own_info in survey([]).infos)
    return caught.value.failed[0].reason


def failure(*enabled: str) -> str:
    with pytest.raises(PluginsError) as caught:
        load(enabled)
    return str(caught.value)


def callers(plugins: Plugins, hook: str = "hostspec_delivered") -> list[str]:
    answers = plugins.hooks.each(hook, receipt=None, alert=None)
    assert not [answer.failure for answer in answers if answer.failure]
    return [answer.plugin for answer in answers]


class Observer:
    """A plugin that observes deliveries."""

    @hookimpl
    def hostspec_delivered(self) -> str:
        return "seen"


class TestFinding:
    def test_working_plugin_is_described(self, install: Install) -> None:
        module = install("bell", OFFERS + OBSERVES)

        plugins = load(["bell"])

        assert info_of(plugins, "bell") == PluginInfo(
            name="bell",
            distribution="dist-bell",
            version="1.0",
            state=PluginState.ACTIVE,
            reason="",
            providers=("bell",),
            actions=("bell.ring",),
            hooks=("hostspec_actions", "hostspec_delivered", "hostspec_providers"),
        )
        assert plugins.providers["bell"].label == "Bell"
        assert plugins.actions["bell.ring"].label == "Ring"
        assert callers(plugins) == ["bell"]
        assert module in sys.modules

    def test_disabled_plugins_are_not_imported(self, install: Install) -> None:
        module = install("bell", "raise SystemExit('imported')")

        plugins = load([])

        assert info_of(plugins, "bell").state is PluginState.DISABLED
        assert info_of(plugins, "bell").reason == "not enabled"
        assert info_of(plugins, "bell").distribution == "dist-bell"
        assert "bell" in installed()
        assert module not in sys.modules

    def test_disabled_plugins_load_no_module(self) -> None:
        """This runs in a process of its own, in which nothing was imported before."""
        code = (
            "import sys; from hostspec.plugins import load; load(['tickets']); print([module for "
            "module in ('hostspec_tickets', 'hostspec_webhook', 'pagerduty_plugin', 'requests') "
            "if module in sys.modules])"
        )

        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )

        assert run.stdout == "['hostspec_tickets']\n"

    def test_missing_plugin_is_reported_with_the_nearest_name(self, install: Install) -> None:
        install("bell", OBSERVES)

        assert failure("bel") == "plugin bel: is not installed; did you mean 'bell'?"
        words = failure("xylophone").partition("is not installed; installed are ")[2].split(", ")
        assert {"bell", "pagerduty"} <= set(words)
        assert words == sorted(words)

    def test_missing_plugin_is_reported_if_none_is_installed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loading, "distributions", list)

        assert failure("bell") == "plugin bell: is not installed; no plugin is installed"

    def test_two_distributions_with_one_name_are_refused(
        self, install: Install, site: Path
    ) -> None:
        modules = [
            install("bell", OBSERVES, distribution="beta"),
            install("bell", OBSERVES, distribution="alpha"),
        ]

        words = failure("bell")

        assert words == (
            f"plugin bell: two distributions offer it: alpha 1.0 in {site}/alpha-1.0.dist-info"
            f" and beta 1.0 in {site}/beta-1.0.dist-info; remove one"
        )
        assert not set(modules) & set(sys.modules)

    def test_two_disabled_distributions_with_one_name_are_ignored(
        self, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same one is listed, whichever is found first."""
        monkeypatch.syspath_prepend(tmp_path)
        install("bell", OBSERVES, distribution="beta", folder=tmp_path)
        install("bell", OBSERVES, distribution="alpha")

        assert info_of(load([]), "bell").distribution == "alpha"

    def test_plugin_cannot_register_a_disabled_one(self, install: Install) -> None:
        """Disabled means blocked at pluggy, too."""
        blocked: list[bool] = []

        class Meddling:
            @hookimpl
            def hostspec_addhooks(self, pluginmanager: pluggy.PluginManager) -> None:
                pluginmanager.register(Observer(), name="bell")
                blocked.append(pluginmanager.is_blocked("bell"))

        install("bell", OBSERVES)

        plugins = load([], own={"mine": Meddling()})

        assert blocked == [True]
        assert callers(plugins) == []

    def test_broken_installation_is_ignored(self, install: Install, site: Path) -> None:
        install("bell", OBSERVES)
        (site / "dist_bell-1.0.dist-info" / "METADATA").unlink()

        assert info_of(load([]), "bell").state is PluginState.DISABLED

    def test_plugin_listed_twice_is_one_plugin(self, install: Install, site: Path) -> None:
        install("bell", OBSERVES)
        listed = site / "dist_bell-1.0.dist-info" / "entry_points.txt"
        listed.write_text(listed.read_text() + listed.read_text().splitlines()[1] + "\n")

        assert callers(load(["bell"])) == ["bell"]

    @pytest.mark.parametrize("mark", ["~", "-"])
    def test_remnants_of_pip_are_ignored(self, install: Install, site: Path, mark: str) -> None:
        install("bell", OBSERVES)
        left = site / f"{mark}ist_bell-0.9.dist-info"
        shutil.copytree(site / "dist_bell-1.0.dist-info", left)
        (left / "entry_points.txt").write_text("[hostspec]\nbell = of_before\n")

        assert callers(load(["bell"])) == ["bell"]

    @pytest.mark.parametrize("version", ["0.9", "9.9"])
    def test_empty_folder_hides_nothing(self, install: Install, site: Path, version: str) -> None:
        install("bell", OBSERVES)
        (site / f"dist_bell-{version}.dist-info").mkdir()

        assert info_of(load(["bell"]), "bell").version == "1.0"

    def test_first_distribution_on_the_path_wins(
        self, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install("bell", OBSERVES, value="of_before")
        nearer = tmp_path / "nearer"
        nearer.mkdir()
        monkeypatch.syspath_prepend(nearer)
        install("bell", OBSERVES, folder=nearer)

        assert callers(load(["bell"])) == ["bell"]

    def test_unreadable_file_is_logged(
        self, install: Install, site: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        install("bell", OBSERVES)
        broken = site / "broken-1.0.dist-info"
        broken.mkdir()
        (broken / "entry_points.txt").write_bytes(b"[hostspec]\n\xff = x\n")

        assert callers(load(["bell"])) == ["bell"]
        assert f"{broken} is left out: its entry points cannot be read" in caplog.text

    def test_missing_metadata_is_blank(
        self, install: Install, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """From Python 3.13 on it may be None, and the file may be damaged."""
        install("bell", OBSERVES)
        for metadata in (property(lambda _: None), property(lambda _: 1 / 0)):
            monkeypatch.setattr(PathDistribution, "metadata", metadata)
            assert info_of(load([]), "bell").distribution == ""

    def test_plugin_may_be_enabled_twice(self, install: Install) -> None:
        install("bell", OBSERVES)

        assert callers(load(["bell", "bell"])) == ["bell"]

    @pytest.mark.parametrize("reverse", [False, True])
    def test_plugins_are_called_in_the_order_of_their_names(
        self, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, reverse: bool
    ) -> None:
        """The order of the folders and of the enabled names does not matter."""
        for name in ("c", "a", "b"):
            folder = tmp_path / name
            folder.mkdir()
            monkeypatch.syspath_prepend(folder)
            install(name, OBSERVES, folder=folder)
        enabled = sorted("bca", reverse=reverse)
        if reverse:
            monkeypatch.setattr(sys, "path", sys.path[:3][::-1] + sys.path[3:])

        assert callers(load(enabled)) == ["a", "b", "c"]

    def test_plugins_may_ask_to_be_first_or_last(self, install: Install) -> None:
        install("a", OBSERVES.replace("hookimpl", "hookimpl(trylast=True)"))
        install("b", OBSERVES)
        install("c", OBSERVES.replace("hookimpl", "hookimpl(tryfirst=True)"))

        assert callers(load(["a", "b", "c"])) == ["c", "b", "a"]


class TestImporting:
    @pytest.mark.parametrize(
        ("source", "words"),
        [
            ("import no_such_module", "there is no module 'no_such_module'"),
            ("raise SystemExit(3)", "it failed at fake_plugin_dist_bell.py:"),
            ("raise RuntimeError('why')", "it failed at fake_plugin_dist_bell.py:"),
            ("def broken(:", "its syntax is wrong at fake_plugin_dist_bell.py:"),
        ],
    )
    def test_failed_import_has_a_reason(self, install: Install, source: str, words: str) -> None:
        install("bell", source)

        assert failure("bell").startswith(f"plugin bell: cannot be imported: {words}")

    def test_dangling_entry_point_is_reported(self, install: Install) -> None:
        module = install("bell", OBSERVES)
        install("gong", "", value=f"{module}:missing")

        assert "has no 'missing'" in failure("gong")

    def test_keyboard_interrupt_is_raised(self, install: Install) -> None:
        install("bell", "raise KeyboardInterrupt")

        with pytest.raises(KeyboardInterrupt):
            load(["bell"])

    def test_every_failed_plugin_is_named(self, install: Install) -> None:
        install("a", "import no_such_module")
        install("b", OBSERVES)
        install("c", "@hookimpl\ndef hostspec_delivred(receipt): pass")
        install("d", "@hookimpl\ndef hostspec_providers(): return None")

        with pytest.raises(PluginsError) as caught:
            load(["a", "b", "c", "d", "e"])

        assert [info.name for info in caught.value.failed] == ["a", "c", "d", "e"]
        assert all(
            f"plugin {info.name}: {info.reason}" in str(caught.value)
            for info in caught.value.failed
        )

    def test_survey_leaves_out_failed_plugins(self, install: Install) -> None:
        install("a", "import no_such_module")
        install("b", OBSERVES)

        plugins = survey(["a", "b"])

        assert info_of(plugins, "a").state is PluginState.FAILED
        assert info_of(plugins, "b").state is PluginState.ACTIVE
        assert callers(plugins) == ["b"]


class TestOwn:
    def test_modules_and_instances_of_the_program_are_plugins(self) -> None:
        plugins = load([], own={"mine": Observer(), "pager": PagerPlugin(Page())})

        assert callers(plugins) == ["mine"]
        assert info_of(plugins, "pager").providers == ("pager",)
        assert info_of(plugins, "mine") == PluginInfo("mine", hooks=("hostspec_delivered",))

    def test_own_name_may_not_be_enabled(self, install: Install) -> None:
        module = install("bell", OBSERVES)

        plugins = survey(["bell"], own={"bell": PagerPlugin(Page())})

        assert info_of(plugins, "bell").reason == "the program has its own plugin of that name"
        assert not plugins.providers
        assert module not in sys.modules

    def test_own_plugin_replaces_a_disabled_one(self, install: Install) -> None:
        module = install("bell", OFFERS)

        plugins = load([], own={"bell": PagerPlugin(Page())})

        assert info_of(plugins, "bell").state is PluginState.ACTIVE
        assert info_of(plugins, "bell").distribution == ""
        assert list(plugins.providers) == ["pager"]
        assert module not in sys.modules

    def test_object_is_not_registered_twice(self) -> None:
        mine = Observer()

        assert (
            reason_of(a=mine, name="a", b=mine) == "equals the plugin 'b'; each is registered once"
        )

    def test_equal_plugins_are_refused(self) -> None:
        """Pluggy compares plugins with ``==``, and would name every plugin in its message."""

        @attrs.frozen
        class Equal:
            secret: str = "canary"

            @hookimpl
            def hostspec_delivered(self) -> None: ...

        assert reason_of("a", a=Equal(), b=Equal()) == (
            "equals the plugin 'b'; each is registered once"
        )


class TestHooks:
    def test_class_is_refused(self) -> None:
        assert reason_of(mine=Observer) == "is a class; register an instance of it"

    @pytest.mark.parametrize("plugin", [None, object(), sys])
    def test_plugin_without_a_hook_is_refused(self, plugin: object) -> None:
        assert reason_of(mine=plugin) == "implements no hook; mark its functions with hookimpl"

    def test_misspelt_hook_is_refused(self, install: Install) -> None:
        install("bell", "@hookimpl\ndef hostspec_delivred(receipt): pass")

        assert failure("bell") == (
            "plugin bell: implements an unknown hook: 'hostspec_delivred' is unknown; "
            "did you mean 'hostspec_delivered'?"
        )

    def test_misspelt_private_hook_is_refused(self, install: Install) -> None:
        install("bell", "@hookimpl(specname='_bell')\ndef hostspec_delivered(receipt): pass")

        assert "'_bell' is unknown" in failure("bell")

    def test_hook_may_be_optional(self, install: Install) -> None:
        install("bell", f"{OBSERVES}\n@hookimpl(optionalhook=True)\ndef gong_volume(): pass")

        info = info_of(load(["bell"]), "bell")

        assert info.state is PluginState.ACTIVE
        assert info.extends == ("gong_volume",)

    @pytest.mark.parametrize(
        ("source", "words"),
        [
            ("@hookimpl(wrapper=True)\ndef H(): return (yield)", "is a wrapper"),
            ("@hookimpl(hookwrapper=True)\ndef H(): yield", "is a wrapper"),
            ("@hookimpl\nasync def H(): pass", "is a coroutine function"),
            ("@hookimpl\ndef H(): yield", "is a generator function"),
            ("@hookimpl\nasync def H(): yield", "is a generator function"),
            ("@hookimpl\ndef H(*, hooks): return ()", "takes hooks, which is not a plain argument"),
            ("@hookimpl\ndef H(**rest): return ()", "takes **rest, which is not a plain argument"),
            ("@hookimpl\ndef H(hooks, /): return ()", "takes hooks, which is not a plain argument"),
        ],
    )
    @pytest.mark.parametrize("hook", ["hostspec_providers", "hostspec_addhooks", "other_hook"])
    def test_hook_must_be_a_plain_function(
        self, install: Install, source: str, words: str, hook: str
    ) -> None:
        install("bell", source.replace("H(", f"{hook}("))

        assert failure("bell") == f"plugin bell: {hook} {words}; hooks are plain functions"

    def test_unknown_argument_is_refused(self, install: Install) -> None:
        install("bell", "@hookimpl\ndef hostspec_delivered(receit): pass")

        assert "cannot be registered: Plugin 'bell' for hook 'hostspec_delivered'" in failure(
            "bell"
        )
        assert "{'receit'} are declared in the hookimpl" in failure("bell")

    @pytest.mark.parametrize(
        ("returned", "words"),
        [
            ("None", "did not return a tuple or list"),
            ("'bell'", "did not return a tuple or list"),
            ("(each for each in ())", "did not return a tuple or list"),
            ("{}", "did not return a tuple or list"),
            ("[1]", ": a int is not WHAT"),
            ("(None,)", ": a NoneType is not WHAT"),
            ("1 / 0", "failed at fake_plugin_dist_bell.py:3"),
            ("exit('canary')", "failed at fake_plugin_dist_bell.py:3"),
            ("coroutine()", "returned a coroutine, which is not run"),
        ],
    )
    @pytest.mark.parametrize(
        ("hook", "what"), [("hostspec_providers", "Provider"), ("hostspec_actions", "Action")]
    )
    def test_wrong_return_type_is_refused(
        self, install: Install, returned: str, words: str, hook: str, what: str
    ) -> None:
        install("bell", f"@hookimpl\ndef {hook}(): return {returned}\nasync def coroutine(): pass")

        reason = failure("bell").removeprefix(f"plugin bell: {hook}").removeprefix(" ")

        assert reason.startswith(
            words.replace("WHAT", f"{'a' if what == 'Provider' else 'an'} {what}")
        )
        assert "canary" not in reason


class TestAddedHooks:
    @pytest.mark.parametrize(("owner", "extension"), [("a", "b"), ("b", "a")])
    def test_other_plugins_implement_them_in_any_order(
        self, install: Install, owner: str, extension: str
    ) -> None:
        install(owner, ADDS_HOOKS)
        install(extension, EXTENDS)

        plugins = load([owner, extension])

        assert callers(plugins, "bell_volume") == [extension]
        assert info_of(plugins, extension).extends == ("bell_volume",)
        assert info_of(plugins, owner).extends == ()

    @pytest.mark.parametrize(("owner", "extension"), [("a", "b"), ("b", "a")])
    def test_wrong_implementation_is_blamed(
        self, install: Install, owner: str, extension: str
    ) -> None:
        """Pluggy may raise while another plugin adds the hooks; that plugin is not blamed."""
        install(owner, ADDS_HOOKS)
        install(extension, EXTENDS.replace("alert", "alarm"))

        plugins = survey([owner, extension])

        assert "{'alarm'} are declared in the hookimpl" in info_of(plugins, extension).reason
        assert info_of(plugins, owner).state is PluginState.ACTIVE
        assert callers(plugins, "bell_volume") == []

    @pytest.mark.parametrize("failing", ["raise SystemExit('no')", "raise RuntimeError('no')"])
    @pytest.mark.parametrize(("owner", "extension"), [("a", "b"), ("b", "a")])
    def test_failed_plugin_leaves_nothing_behind(
        self, install: Install, owner: str, extension: str, failing: str
    ) -> None:
        """The hooks that it had added are gone, too: they would never be called."""
        install(owner, f"{ADDS_HOOKS}    {failing}\n{OFFERS}")
        install(extension, EXTENDS)

        plugins = survey([owner, extension])

        assert "hostspec_addhooks failed at fake_plugin_dist_" in info_of(plugins, owner).reason
        assert "'bell_volume' is unknown" in info_of(plugins, extension).reason
        assert info_of(plugins, owner).hooks == ()
        assert not plugins.providers
        assert not plugins.actions

    def test_keyboard_interrupt_is_raised(self) -> None:
        class Interrupted:
            @hookimpl
            def hostspec_addhooks(self) -> None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            load([], own={"mine": Interrupted()})

    def test_hook_is_added_once(self, install: Install) -> None:
        install("a", ADDS_HOOKS)
        install("b", ADDS_HOOKS)

        plugins = survey(["a", "b"])

        assert info_of(plugins, "b").state is PluginState.ACTIVE
        assert "'bell_volume' is already registered" in info_of(plugins, "a").reason

    def test_hooks_of_the_host_cannot_be_added(self, install: Install) -> None:
        install("a", ADDS_HOOKS.replace("bell_volume", "hostspec_delivered"))

        assert "'hostspec_delivered' is already registered" in failure("a")


class TestOffers:
    def test_providers_receive_the_hooks(self) -> None:
        heard: list[object] = []

        class Listening(PagerPlugin):
            @hookimpl
            def hostspec_providers(self, hooks: object) -> Sequence[Any]:
                heard.append(hooks)
                return [Pager()]

        plugins = load([], own={"mine": Listening(Page())})

        assert heard == [plugins.hooks]

    @pytest.mark.parametrize(
        ("what", "old", "new", "words"),
        [
            (
                "providers",
                "name, label, settings =",
                "names, label, settings =",
                "it has no 'name'",
            ),
            ("providers", '"bell", "Bell"', '"bell", ""', "name and label of a Bell must be text"),
            ("providers", '"bell", "Bell"', '7, "Bell"', "name and label of a Bell must be text"),
            ("providers", '"Bell", Settings', '"Bell", dict', "dict is not an attrs class"),
            (
                "providers",
                '"Bell", Settings',
                '"Bell", Settings()',
                "a Settings is not an attrs class",
            ),
            ("providers", "    pass", "    when: bytes", "is not a valid type of a setting"),
            ("providers", "    pass", "    when: 'Missing'", "that is not defined: 'Missing'"),
            ("providers", "return (Bell(),)", "return (Bell,)", "is not a Provider"),
            (
                "providers",
                "return (Bell(),)",
                "return Bell(), Bell()",
                "there is a provider 'bell'",
            ),
            ("actions", '"bell.ring", "Ring"', '"", "Ring"', "name and label of a Ring must be"),
            (
                "actions",
                '"Ring", "bell"',
                '"Ring", "gong"',
                "'bell.ring' needs the provider 'gong'",
            ),
            ("actions", "Capabilities()", "['resolve']", "has no capabilities"),
            ("actions", "    capabilities", "    can", "it has no 'capabilities'"),
            ("actions", '"bell", Settings', '"bell", dict', "dict is not an attrs class"),
            ("actions", "return [Ring()]", "return [Ring]", "is not an Action"),
            ("actions", "return [Ring()]", "return [Ring()] * 2", "there is an action 'bell.ring'"),
        ],
    )
    def test_invalid_offer_is_refused_with_its_reason(
        self, install: Install, what: str, old: str, new: str, words: str
    ) -> None:
        assert OFFERS.count(old) == 1
        install("bell", OFFERS.replace(old, new))

        reason = failure("bell")

        assert reason.startswith(f"plugin bell: hostspec_{what}: ")
        assert words in reason

    @pytest.mark.parametrize("error", [SystemExit("no"), RuntimeError("no")])
    def test_failing_attribute_is_refused(self, error: BaseException) -> None:
        class Moody(Pager):
            @property
            def label(self) -> str:  # type: ignore[override]
                raise error

            def __repr__(self) -> str:
                raise error

        class Plugin(PagerPlugin):
            @hookimpl
            def hostspec_providers(self) -> Sequence[Any]:
                return [Moody()]

        words = "hostspec_providers: the Moody cannot be used: it failed at tests/plugins/"
        assert reason_of(mine=Plugin(Page())).startswith(words)

    def test_keyboard_interrupt_is_raised(self) -> None:
        class Slow(Pager):
            @property
            def label(self) -> str:  # type: ignore[override]
                raise KeyboardInterrupt

        class Plugin(PagerPlugin):
            @hookimpl
            def hostspec_providers(self) -> Sequence[Any]:
                return [Slow()]

        with pytest.raises(KeyboardInterrupt):
            load([], own={"mine": Plugin(Page())})

    def test_names_are_unique_among_plugins(self) -> None:
        first, second = PagerPlugin(Page()), PagerPlugin(Page())

        plugins = survey([], own={"a": first, "b": second})

        assert info_of(plugins, "a").state is PluginState.ACTIVE
        assert info_of(plugins, "b").reason == (
            "hostspec_providers: there is a provider 'pager' already"
        )
        assert plugins.actions["pager.page"] is first.actions[0]

    @pytest.mark.parametrize(("owner", "user"), [("a", "b"), ("b", "a")])
    def test_action_needs_its_provider(self, owner: str, user: str) -> None:
        """The order does not matter, and the provider's plugin may fail later."""

        class OnlyActs:
            @hookimpl
            def hostspec_actions(self) -> Sequence[Any]:
                return [Page()]

        class Fails:
            @hookimpl
            def hostspec_providers(self) -> Sequence[Any]:
                return [Pager()]

            @hookimpl
            def hostspec_actions(self) -> Sequence[Any]:
                return ["nonsense"]

        plugins = survey([], own={owner: Fails(), user: OnlyActs()})

        assert info_of(plugins, owner).providers == ()
        assert info_of(plugins, user).reason == (
            "hostspec_actions: action 'pager.page' needs the provider 'pager'"
        )
        assert not plugins.actions

    def test_action_may_use_the_provider_of_another_plugin(self) -> None:
        class Loud(Page):
            name = "pager.loud"

        class OnlyActs:
            @hookimpl
            def hostspec_actions(self) -> Sequence[Any]:
                return [Loud(Capabilities())]

        plugins = load([], own={"a": OnlyActs(), "b": PagerPlugin(Page())})

        assert sorted(plugins.actions) == ["pager.loud", "pager.page"]


class TestSettings:
    def test_unknown_provider_is_refused(self) -> None:
        plugins = load([], own={"mine": PagerPlugin(Page())})

        with pytest.raises(FaultsError, match="provider: 'pagr' is unknown; did you mean 'pager'"):
            plugins.installation("pagr", "acme", {})
        with pytest.raises(FaultsError, match="'xylophone' is unknown; known are pager"):
            plugins.installation("xylophone", "acme", {})

    def test_unknown_action_is_refused(self) -> None:
        plugins = load([], own={"mine": PagerPlugin(Page())})
        acme = plugins.installation("pager", "acme", {})

        with pytest.raises(FaultsError, match="use: 'pager\\.pag' is unknown; did you mean"):
            plugins.rule_action("pager.pag", acme, {})

    def test_action_needs_an_installation_of_its_provider(self) -> None:
        plugins = load([], own={"mine": PagerPlugin(Page())})
        acme = attrs.evolve(plugins.installation("pager", "acme", {}), provider="bell")

        with pytest.raises(FaultsError) as caught:
            plugins.rule_action("pager.page", acme, {})

        assert str(caught.value) == "installation: is a bell installation; pager.page needs pager"

    def test_action_checks_its_settings(self, install: Install) -> None:
        install("bell", OFFERS.replace("    def plan", CHECKS + "    def plan"))
        plugins = load(["bell"])
        tower = plugins.installation("bell", "tower", {})

        with pytest.raises(FaultsError, match="rope: is torn"):
            plugins.rule_action("bell.ring", tower, {})

    def test_settings_are_structured_as_in_a_file(self) -> None:
        plugins = load([], own={"mine": PagerPlugin(Page())})
        acme = plugins.installation("pager", "acme", {})

        use = plugins.rule_action("pager.page", acme, {"teams": ["data"]})

        assert acme.settings == AccountSettings()
        assert use.settings.teams == ("data",)
        assert use.installation is acme

    def test_unknown_name_without_known_ones(self) -> None:
        assert unknown_name("x", ()) == "'x' is unknown; none is known"


CHECKS = """
    def check(self, settings, installation):
        from hostspec import Fault
        return [Fault("rope", "is torn")]

"""


@hookspec
def unused() -> None:
    """A specification in a module makes it no plugin."""


def test_module_of_specifications_is_no_plugin() -> None:
    assert "implements no hook" in reason_of(mine=sys.modules[__name__])
