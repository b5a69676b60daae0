"""Host checks: how a host treats sound plugins, and how it survives broken ones."""

from __future__ import annotations

import abc
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import attrs

from hostspec.alert import Alert
from hostspec.hookspecs import PROJECT
from hostspec.testing import probes
from hostspec.testing.support import environment, fail, require, within

PAGING: Final = "conformance-paging"
FAILING: Final = "conformance-failing"
OBSERVING: Final = "conformance-observing"
EXITING: Final = "conformance-exiting"
HANGING: Final = "conformance-hanging"
UNIMPORTABLE: Final = "conformance-unimportable"
INCOMPLETE: Final = "conformance-incomplete"
MISSING: Final = "conformance-missing"


class HostRefusedError(Exception):
    """The host refuses to start; a case raises it where its host does."""


@attrs.frozen
class HostRule:
    """A rule of the host's configuration. Neither action nor installation has settings.

    It matches the alerts whose label ``team`` is ``team``; all where that is empty.
    """

    name: str
    action: str
    installation: str
    team: str = ""

    @property
    def provider(self) -> str:
        """The name of the action's provider."""
        return self.action.partition(".")[0]


@attrs.frozen
class HostConfig:
    """The configuration that the host must run with; further plugins are installed, too."""

    enabled: tuple[str, ...]
    rules: tuple[HostRule, ...]


class HostCase(abc.ABC):
    """Describes a host to the kit. Subclass it.

    Attributes:
        stateful: whether the host remembers the incidents that it opened, so that follow-ups
            go there whatever the rules say.
        time_limit: seconds after which a run is considered to hang.
    """

    stateful: ClassVar[bool] = True
    time_limit: ClassVar[float] = 60.0

    @abc.abstractmethod
    def run(self, config: HostConfig, alerts: Sequence[Alert]) -> None:
        """Start the host with a configuration, let it handle the alerts in order, and stop it.

        The plugins are on ``sys.path`` and, for other processes, in ``PYTHONPATH``; the host
        finds them through their entry points. Return when all deliveries have been sent.

        Raises:
            HostRefusedError: the host refuses to start.
        """


PAGE: Final = HostRule("Page", f"{PAGING}.page", "first")
FAIL: Final = HostRule("Fail", f"{FAILING}.fail", "failing")


def check_discovers(case: HostCase) -> None:
    """An installed and enabled plugin is found through its entry point, and sends."""
    events = _run(case, HostConfig((PAGING,), (PAGE,)), Alert("one"))
    require(
        _sent(events) == ["trigger one"],
        f"an alert that matches a rule was sent as {_sent(events)}, right is one trigger; load "
        f"entry points of the group {PROJECT!r}, plan and send",
    )


def check_disabled_is_not_imported(case: HostCase) -> None:
    """An installed but disabled plugin is neither imported nor called."""
    events = _run(case, HostConfig((PAGING,), (PAGE,)), Alert("one"))
    require(
        not _of(events, "imported") and not _of(events, "called"),
        "a plugin that is installed but not enabled was imported; load only the plugins that the "
        "configuration enables",
    )


def check_failing_plan(case: HostCase) -> None:
    """An action that fails to plan costs no other rule's page."""
    _survives_action(case, "fail in plan", "planning")


def check_failing_send(case: HostCase) -> None:
    """An action that raises in `send` costs no other rule's page."""
    _survives_action(case, "fail in send", "sending")


def check_failing_observer(case: HostCase) -> None:
    """An observer that raises costs neither a page nor another observer."""
    _survives_observer(case, EXITING, "raises SystemExit")


def check_hanging_observer(case: HostCase) -> None:
    """An observer that never returns costs neither a page nor another observer."""
    _survives_observer(case, HANGING, "never returns")


def check_failing_extension(case: HostCase) -> None:
    """An extension that raises costs neither a page nor another extension."""
    _survives_extension(case, EXITING, "raises SystemExit")


def check_hanging_extension(case: HostCase) -> None:
    """An extension that never returns costs neither a page nor another extension."""
    _survives_extension(case, HANGING, "never returns")


def check_fails_closed(case: HostCase) -> None:
    """An enabled plugin that is broken or missing keeps the host from starting."""
    for broken in (UNIMPORTABLE, INCOMPLETE, MISSING):
        try:
            _run(case, HostConfig((PAGING, broken), (PAGE,)), Alert("one"))
        except HostRefusedError:
            continue
        fail(
            f"the host starts though {broken} is enabled and cannot be used; refuse to start "
            "(raise HostRefusedError from run), or its pages would be lost silently"
        )


def check_observers(case: HostCase) -> None:
    """Each delivered and each failed delivery is reported to observers by its own hook."""
    rejected = Alert("two", labels={"outcome": "rejected"})
    events = _run(case, HostConfig((PAGING, OBSERVING), (PAGE,)), Alert("one"), rejected)
    observed = {(each["event"], each["key"]) for each in events if "id" in each}
    expected = {("delivered", "one"), ("undelivered", "two")}
    require(
        observed == expected,
        f"observers were notified of {sorted(observed)}, right is {sorted(expected)}; call "
        "hostspec_delivered or hostspec_undelivered after each delivery",
    )


def check_follow_ups_stick(case: HostCase) -> None:
    """An incident is resolved where it was opened, once, whatever the rules say meanwhile."""
    if not case.stateful:
        return
    rule = attrs.evolve(PAGE, team="first")
    events = _run(
        case,
        HostConfig((PAGING,), (rule,)),
        Alert("one", labels={"team": "first"}),
        Alert("one", status="acknowledged"),
        Alert("one", status="resolved"),
    )
    expected = ["trigger one", "acknowledge one", "resolve one"]
    require(
        _sent(events) == expected,
        f"an alert whose labels changed was sent as {_sent(events)}, right is {expected}; follow "
        "up from the open incident, and apply no rule",
    )
    handles = [each["handle"] for each in _of(events, "sent")]
    require(
        handles == [None, {"opened": "first"}, {"opened": "first"}],
        f"the attempts had the handles {handles}; keep the handle of the first outcome, and pass "
        "it to every later attempt as context.handle",
    )


def _survives_observer(case: HostCase, broken: str, behaviour: str) -> None:
    config = HostConfig((PAGING, OBSERVING, broken), (PAGE,))
    events = _run(case, config, Alert("one"), Alert("two"))
    observed = [each["key"] for each in _of(events, "delivered")]
    require(  # problems are independent: a host may send them in any order
        (sorted(_sent(events)), sorted(observed))
        == (["trigger one", "trigger two"], ["one", "two"]),
        f"beside an observer that {behaviour}, pages were {_sent(events)} and another observer "
        f"was notified of {observed}, right are one and two; call each observer on its own, with "
        "a deadline",
    )


def _survives_extension(case: HostCase, broken: str, behaviour: str) -> None:
    events = _run(case, HostConfig((PAGING, OBSERVING, broken), (PAGE,)), Alert("mark"))
    marks = [(each["marks"], each["notes"]) for each in _of(events, "sent")]
    require(
        marks == [(["mark"], 1)],
        f"beside an extension that {behaviour}, the pages had these marks and numbers of "
        f"failures: {marks}, right is [(['mark'], 1)]; let Hooks.each call each implementation "
        "on its own, with a deadline, and answer with its failure",
    )


def _survives_action(case: HostCase, key: str, event: str) -> None:
    events = _run(case, HostConfig((FAILING, PAGING), (FAIL, PAGE)), Alert(key), Alert("next"))
    require(
        _of(events, event) and sorted(_sent(events)) == [f"trigger {key}", "trigger next"],
        f"with an action that exits while {event}, another rule's pages were {_sent(events)}, "
        f"right is a trigger of {key!r} and one of 'next'; catch every exception of an action, "
        "SystemExit too, and go on",
    )


def _sent(events: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{each['operation']} {each['key']}" for each in _of(events, "sent")]


def _of(events: Sequence[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [each for each in events if each["event"] == event]


def _run(case: HostCase, config: HostConfig, *alerts: Alert) -> list[dict[str, Any]]:
    enabled = ", ".join(config.enabled)
    with _installed_probes():
        try:
            within(case.time_limit, lambda: case.run(config, alerts))
        except HostRefusedError:
            require(
                not _of(probes.read_record(), "sent"),
                "the host sent a message before it refused to start; load every plugin first",
            )
            raise
        except TimeoutError:
            fail(
                f"the host had not returned after {case.time_limit:g} s with the plugins "
                f"{enabled}; never wait for a plugin without a deadline"
            )
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 -- SystemExit of a plugin came through
            fail(
                f"the host ended with {type(error).__name__}: {error} with the plugins {enabled}; "
                "catch every exception of a plugin, and raise HostRefusedError where the host "
                "refuses to start"
            )
        return probes.read_record()


@contextlib.contextmanager
def _installed_probes() -> Iterator[None]:
    """Install the probes in this block, with an empty record."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for name in (PAGING, FAILING, OBSERVING, EXITING, HANGING, INCOMPLETE):
            probe = name.partition("-")[2]
            _write_distribution(Path(folder), name, f"{probes.__name__}:{probe}")
        for name, source in probes.MODULES.items():
            module = name.replace("-", "_")
            Path(folder, f"{module}.py").write_text(source, encoding="utf-8")
            _write_distribution(Path(folder), name, module)
            sys.modules.pop(module, None)
        path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
        variables = {probes.RECORD_VARIABLE: str(Path(folder, "record")), "PYTHONPATH": path}
        sys.path.insert(0, folder)
        try:
            with environment(variables):
                yield
        finally:
            sys.path.remove(folder)


def _write_distribution(folder: Path, name: str, target: str) -> None:
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    points = f"[{PROJECT}]\n{name} = {target}\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
