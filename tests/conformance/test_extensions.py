"""Sound extensions pass the kit, and each check fails for a broken one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import pytest
from kit import name_of

from hostspec import Alert, Secret, hookimpl, hookspec, setting
from hostspec.testing import EXTENSION_CHECKS, ConformanceError, ExtensionCase, ExtensionConformance
from pagerduty_plugin import Enrich


def _check(name: str) -> str | None:
    return None if name.isalpha() else "must be letters"


@attrs.frozen(kw_only=True)
class Team:
    owner: str = setting("Owner", help="Service of the team.", check=_check)
    token: Secret = setting("Token", help="Reads the calendar.")


class Sound:
    """A sound extension; each broken one below changes one thing."""

    kind: Any = Team

    @hookimpl
    def hostspec_settings(self):
        return self.kind

    @hookimpl
    def hostspec_configure(self, settings):
        self.given = settings

    @hookimpl
    def hostspec_undelivered(self, receipt):
        return receipt.delivery.ref

    @hookimpl
    def hostspec_delivered(self): ...

    @hookimpl
    def pagerduty_services(self, alert, services):
        return self.services(alert)

    def services(self, alert):
        return [self.given.owner] if alert.labels.get("team") else None


class Plain:
    """An extension without settings."""

    @hookimpl
    def pagerduty_enrich(self, alert):
        return Enrich(details={"key": alert.key})


class TestSound(ExtensionConformance):
    plugin = Sound()
    extends = ("pagerduty",)
    arguments: ClassVar = {"services": ["checkout"]}
    canary = "canary0123456789"

    def settings(self, secret: str) -> Mapping[str, object]:
        return {"owner": "checkout", "token": secret}


class TestPlain(ExtensionConformance):
    plugin = Plain()
    extends = ("pagerduty",)


class Bells:
    """A plugin whose hooks declare types that cannot be resolved."""

    @hookspec
    def bell_text(self, alert: Alert) -> Nowhere: ...  # noqa: F821

    @hookspec
    def bell_sound(self, alert): ...


class Ringing:
    """An extension of hooks that it adds itself."""

    @hookimpl
    def hostspec_addhooks(self, pluginmanager):
        pluginmanager.add_hookspecs(Bells)

    @hookimpl
    def bell_text(self, alert):
        return alert.summary

    @hookimpl
    def bell_sound(self, alert):
        return alert.key


class TestRinging(ExtensionConformance):
    plugin = Ringing()


class TestInstalled(ExtensionConformance):
    plugin = "night-watch"
    extends = ("pagerduty",)
    arguments: ClassVar = {"services": ["checkout"], "chosen": [], "severity": "error"}


class Misspelt(Sound):
    @hookimpl(optionalhook=True)
    def pagerduty_service(self, alert): ...


@attrs.frozen
class Bare:
    owner: str
    token: Secret


class Unlabelled(Sound):
    kind = Bare


@attrs.frozen(kw_only=True)
class Loose:
    owner: str = setting("Owner")
    token: Secret = setting("Token")


class Unchecked(Sound):
    kind = Loose

    @hookimpl
    def hostspec_configure(self, settings):
        if not settings.owner.isalpha():
            raise LookupError
        self.given = settings


class Incomplete(Sound):
    @hookimpl
    def hostspec_settings(self):
        return Lenient


class Raising(Sound):
    def services(self, alert):
        return [alert.labels["team"]]


class Hanging(Sound):
    def services(self, alert):
        threading.Event().wait(20)


class Wrong(Sound):
    def services(self, alert):
        return [1]


class Needing(Sound):
    def services(self, alert):
        self.given.token.reveal()


class Sharing(Sound):
    """Keeps the alert on itself, where the next call overwrites it."""

    def __init__(self):
        self.calls = 0
        self.together = threading.Barrier(8)

    def services(self, alert):
        self.calls += 1  # the first eight are made one after another
        self.current = alert.key
        if self.calls > 8:
            self.together.wait(60)
        return [self.current]


class Busy(Sharing):
    """Takes one call at a time, and raises in the others."""

    def services(self, alert):
        (answer,) = super().services(alert)
        if answer != alert.key:
            raise RuntimeError
        return [answer]


class Revealing(Sound):
    def services(self, alert):
        return [self.given.token.reveal() or ""] if self.given.token.reference is None else None


class Printing(Sound):
    def services(self, alert):
        if self.given.token.reference is None:
            sys.stdout.write(self.given.token.reveal())


@attrs.frozen(kw_only=True)
class Lenient:
    owner: str = setting("Owner")
    token: str = setting("Token")


BROKEN = [
    ("loads", {"plugin": Misspelt()}, "no plugin calls pagerduty_service;"),
    ("loads", {"extends": ()}, "no host can load the extension: implements an unknown hook"),
    ("settings", {"plugin": Unlabelled()}, "by position"),
    ("settings", {"plugin": Unchecked()}, "of owner is rejected without a fault"),
    ("hooks", {"plugin": Raising()}, " for the firing alert 'conformance/least'; return None"),
    ("hooks", {"plugin": Hanging(), "time_limit": 0.2}, "had not returned after 0.2 s"),
    ("hooks", {"plugin": Wrong()}, "returned a value that is not of the type"),
    ("hooks", {"arguments": {}}, "takes services; set them in `arguments`"),
    ("missing_secret", {"plugin": Needing()}, "failed at tests/conformance/test_extensions.py:"),
    ("threads", {"plugin": Sharing()}, "lock state that calls share"),
    ("threads", {"plugin": Busy()}, " for the firing alert"),
    ("secrets", {"plugin": Revealing()}, "shows the secret"),
    ("secrets", {"plugin": Printing()}, "shows the secret"),
    ("secrets", {"canary": "short"}, "set `canary` to 12 characters"),
    ("secrets", {"plugin": Incomplete()}, "have no Secret"),
]


@pytest.mark.parametrize(("check", "members", "message"), BROKEN)
def test_broken_extension_fails_its_check(
    check: str, members: dict[str, Any], message: str
) -> None:
    case: ExtensionCase = type("BrokenCase", (TestSound,), members)()
    (run,) = (each for each in EXTENSION_CHECKS if each.__name__ == f"check_{check}")

    with pytest.raises(ConformanceError) as raised:
        run(case)

    assert message in str(raised.value)


def test_every_check_has_a_broken_extension() -> None:
    names = {name_of(check) for check in EXTENSION_CHECKS}
    assert {check for check, _, _ in BROKEN} == names
