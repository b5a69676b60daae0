"""Checks of a host: what it does with plugins that are well, and with those that are not."""

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
from hostspec.testing.case import environment, within
from hostspec.testing.probes import journal
from hostspec.testing.requirement import fail, require

PAGING: Final = "conformance-paging"
FAILING: Final = "conformance-failing"
OBSERVING: Final = "conformance-observing"
EXITING: Final = "conformance-exiting"
HANGING: Final = "conformance-hanging"
IDLE: Final = "conformance-idle"
UNIMPORTABLE: Final = "conformance-unimportable"
INCOMPLETE: Final = "conformance-incomplete"
MISSING: Final = "conformance-missing"

_INSTALLED: Final = (PAGING, FAILING, OBSERVING, EXITING, HANGING, IDLE, UNIMPORTABLE, INCOMPLETE)
_PROBES: Final = "hostspec.testing.probes"


class HostRefusedError(Exception):
    """The host refuses to start; a case raises it where its host does."""


@attrs.frozen
class HostRule:
    """A rule that the host must have. Neither action nor installation has settings.

    Attributes:
        name: the rule's.
        action: the action's name; its provider's name stands before the dot.
        installation: the name of the installation it sends through.
        team: the rule matches alerts whose label ``team`` is this; all where it is empty.
    """

    name: str
    action: str
    installation: str
    team: str = ""

    @property
    def provider(self) -> str:
        """The name of the provider whose installation it sends through."""
        return self.action.partition(".")[0]


@attrs.frozen
class HostSetup:
    """How the host must be set up.

    Attributes:
        enabled: the names of the plugins that are enabled; others are installed too.
        rules: its rules, in this order.
    """

    enabled: tuple[str, ...]
    rules: tuple[HostRule, ...]


class HostCase(abc.ABC):
    """What the kit needs of a host. Subclass it.

    Attributes:
        remembers: whether the host remembers what it opened, so that follow-ups go there
            whatever the rules say by then.
        patience: seconds after which a run is held to hang.
    """

    remembers: ClassVar[bool] = True
    patience: ClassVar[float] = 60.0

    @abc.abstractmethod
    def run(self, setup: HostSetup, alerts: Sequence[Alert]) -> None:
        """Start the host as it is set up, let it handle the alerts in order, and stop it.

        The plugins are on ``sys.path`` and, for other processes, in ``PYTHONPATH``; the host
        finds them through their entry points. Return when all has been sent.

        Raises:
            HostRefusedError: the host refuses to start.
        """


PAGE: Final = HostRule("Page", f"{PAGING}.page", "first")
FAIL: Final = HostRule("Fail", f"{FAILING}.fail", "failing")


def check_discovers(case: HostCase) -> None:
    """A plugin that is installed and enabled is found through its entry point, and sends."""
    seen = _run(case, HostSetup((PAGING,), (PAGE,)), Alert("one"))
    require(
        _sent(seen) == ["trigger one"],
        f"an alert that matches a rule was sent as {_sent(seen)}, right is one trigger; load "
        f"entry points of the group {PROJECT!r}, plan and send",
    )


def check_disabled_is_not_imported(case: HostCase) -> None:
    """What is installed but not enabled is neither imported nor called."""
    seen = _run(case, HostSetup((PAGING,), (PAGE,)), Alert("one"))
    require(
        not _of(seen, "imported") and not _of(seen, "called"),
        "a plugin that is installed but not enabled was imported; load only what the "
        "configuration enables",
    )


def check_failing_plan(case: HostCase) -> None:
    """An action that fails to plan costs no other rule's page."""
    _survives(case, "fail in plan", "planning")


def check_failing_send(case: HostCase) -> None:
    """An action that raises in `send` costs no other rule's page."""
    _survives(case, "fail in send", "sending")


def check_failing_observer(case: HostCase) -> None:
    """An observer that raises costs neither a page nor another observer."""
    _observed_in_spite_of(case, EXITING, "raises SystemExit")


def check_hanging_observer(case: HostCase) -> None:
    """An observer that never returns costs neither a page nor another observer."""
    _observed_in_spite_of(case, HANGING, "never returns")


def check_failing_extension(case: HostCase) -> None:
    """An extension that raises costs neither a page nor another extension."""
    _marked_in_spite_of(case, EXITING, "raises SystemExit")


def check_hanging_extension(case: HostCase) -> None:
    """An extension that never returns costs neither a page nor another extension."""
    _marked_in_spite_of(case, HANGING, "never returns")


def check_fails_closed(case: HostCase) -> None:
    """An enabled plugin that is broken or missing keeps the host from starting."""
    for broken in (UNIMPORTABLE, INCOMPLETE, MISSING):
        setup = HostSetup((PAGING, broken), (PAGE,))
        try:
            _run(case, setup, Alert("one"))
        except HostRefusedError:
            continue
        fail(
            f"the host starts though {broken} is enabled and cannot be used; refuse to start "
            "(raise HostRefusedError from run): it would be silent at night"
        )


def check_observers_are_told(case: HostCase) -> None:
    """Observers are told of what was delivered and what was given up, each by its own hook."""
    refused = Alert("two", labels={"outcome": "refused"})
    seen = _run(case, HostSetup((PAGING, OBSERVING), (PAGE,)), Alert("one"), refused)
    told = {(each["event"], each["key"]) for each in seen if "id" in each}
    wanted = {("delivered", "one"), ("undelivered", "two")}
    require(
        told == wanted,
        f"observers were told {sorted(told)}, right is {sorted(wanted)}; call "
        "hostspec_delivered or hostspec_undelivered after the fact",
    )


def check_follow_ups_stick(case: HostCase) -> None:
    """What was opened is resolved where it was opened, once, whatever the rules say by then."""
    if not case.remembers:
        return
    rule = attrs.evolve(PAGE, team="first")
    seen = _run(
        case,
        HostSetup((PAGING,), (rule,)),
        Alert("one", labels={"team": "first"}),
        Alert("one", status="acknowledged"),
        Alert("one", status="resolved"),
    )
    wanted = ["trigger one", "acknowledge one", "resolve one"]
    require(
        _sent(seen) == wanted,
        f"an alert whose labels changed was sent as {_sent(seen)}, right is {wanted}; follow up "
        "what was opened, from the incident, and ask no rule",
    )
    handles = [each["handle"] for each in _of(seen, "sent")]
    require(
        handles == [None, {"opened": "first"}, {"opened": "first"}],
        f"the attempts were given the handles {handles}; keep the handle of the first outcome, "
        "and give it to every later attempt as context.handle",
    )


def _observed_in_spite_of(case: HostCase, broken: str, does: str) -> None:
    seen = _run(case, HostSetup((PAGING, OBSERVING, broken), (PAGE,)), Alert("one"), Alert("two"))
    told = [each["key"] for each in _of(seen, "delivered")]
    require(  # problems are independent: their order is the host's
        (sorted(_sent(seen)), sorted(told)) == (["trigger one", "trigger two"], ["one", "two"]),
        f"beside an observer that {does}, pages were {_sent(seen)} and another observer was told "
        f"of {told}, right are one and two; call each observer on its own, with a deadline",
    )


def _marked_in_spite_of(case: HostCase, broken: str, does: str) -> None:
    seen = _run(case, HostSetup((PAGING, OBSERVING, broken), (PAGE,)), Alert("mark"))
    marks = [(each["marks"], each["notes"]) for each in _of(seen, "sent")]
    require(
        marks == [(["mark"], 1)],
        f"beside an extension that {does}, the pages had these marks and numbers of failures: "
        f"{marks}, right is [(['mark'], 1)]; let Hooks.each call each implementation on its own, "
        "with a deadline, and answer with its failure",
    )


def _survives(case: HostCase, key: str, event: str) -> None:
    seen = _run(case, HostSetup((FAILING, PAGING), (FAIL, PAGE)), Alert(key), Alert("next"))
    require(
        _of(seen, event) and sorted(_sent(seen)) == [f"trigger {key}", "trigger next"],
        f"with an action that exits while {event}, another rule's pages were {_sent(seen)}, "
        f"right is a trigger of {key!r} and one of 'next'; catch what an action raises, "
        "SystemExit too, and go on",
    )


def _sent(seen: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{each['operation']} {each['key']}" for each in _of(seen, "sent")]


def _of(seen: Sequence[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [each for each in seen if each["event"] == event]


def _run(case: HostCase, setup: HostSetup, *alerts: Alert) -> list[dict[str, Any]]:
    """Run the host; give what the plugins wrote down."""
    with _installed():
        try:
            within(case.patience, lambda: case.run(setup, alerts))
        except HostRefusedError:
            require(
                not _of(journal.read(), "sent"),
                "the host sent something, and refused only then; load every plugin first",
            )
            raise
        except TimeoutError:
            fail(
                f"the host had not come back after {case.patience:g} s with the plugins "
                f"{', '.join(setup.enabled)}; never wait for a plugin without a deadline"
            )
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 -- SystemExit of a plugin came through
            fail(
                f"the host ended with {type(error).__name__}: {error} with the plugins "
                f"{', '.join(setup.enabled)}; let nothing that a plugin raises through, and "
                "raise HostRefusedError where the host refuses to start"
            )
        return journal.read()


@contextlib.contextmanager
def _installed() -> Iterator[None]:
    """Install the plugins of the checks for a while, with an empty journal."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for name in _INSTALLED:
            _write_distribution(Path(folder), name)
        path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
        variables = {journal.VARIABLE: str(Path(folder, "journal")), "PYTHONPATH": path}
        # imported again, it writes so down
        sys.modules.pop(_module(IDLE), None)
        sys.path.insert(0, folder)
        try:
            with environment(variables):
                yield
        finally:
            sys.path.remove(folder)


def _write_distribution(folder: Path, name: str) -> None:
    """Write what makes a distribution with one entry point; the module is there already."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    points = f"[{PROJECT}]\n{name} = {_module(name)}\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")


def _module(plugin: str) -> str:
    return f"{_PROBES}.{plugin.partition('-')[2]}"
