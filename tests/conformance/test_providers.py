"""PagerDuty and the providers of the tests pass the kit."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import hostspec_webhook
import pytest

from hostspec import OutcomeKind
from hostspec.testing import NetworkFault, ProviderConformance, Service, probes
from pagerduty_plugin.testing import FakePagerDuty, refusing


class TestPagerDuty(ProviderConformance):
    plugin = "pagerduty"
    action = "pagerduty.trigger"
    action_settings: ClassVar = {"services": ["checkout"], "severity": "default"}
    install_settings: ClassVar = {"app_id": "PABC123"}
    canary = "canary0123456789canary0123456789"

    def installation_settings(self, url: str, secret: str) -> Mapping[str, object]:
        return {
            "base_url": url,
            "services": [{"name": "checkout", "integration_key": secret}],
            "network": {"timeout": 1},
        }

    @contextlib.contextmanager
    def service(self) -> Iterator[Service]:
        with FakePagerDuty(services={"checkout": self.canary}) as fake:
            yield Service(fake.url, lambda: [each.body.decode() for each in fake.requests])

    def faults(self) -> Sequence[NetworkFault]:
        return (
            *super().faults(),
            NetworkFault(
                "PagerDuty knows no such key",
                lambda: self.misbehaving("Invalid routing key"),
                frozenset({OutcomeKind.MISCONFIGURED}),
            ),
        )

    @contextlib.contextmanager
    def misbehaving(self, words: str) -> Iterator[Service]:
        with FakePagerDuty() as fake:
            fake.misbehave(refusing(words))
            yield Service(fake.url, tuple)


class TestPagerDutyChange(TestPagerDuty):
    """Records, which notify no one and must not be repeated."""

    action = "pagerduty.change"
    action_settings: ClassVar = {
        "services": ["checkout"],
        "statuses": ["firing", "acknowledged", "resolved"],
        "summary": "{{ summary }} at {{ service }}",
        "details": {"rule": "{{ rule }}"},
        "links": [{"href": "https://x.example/{{ key }}"}],
    }


class TestPagerDutyWorded(TestPagerDuty):
    """All settings of a rule are used."""

    action_settings: ClassVar = {
        "services": ["checkout"],
        "severity": "warning",
        "event_actions": ["trigger", "acknowledge", "resolve"],
        "dedup_key": "{{ scope }}/{{ key }}",
        "summary": "{{ summary }} {{ labels.missing }}",
        "component": "{{ component }}",
        "group": "{{ service }}",
        "class": "{{ 1 / 0 }}",
        "client": "nightwatch",
        "client_url": "https://x.example",
        "details": {"rule": "{{ rule }}", "all": "{{ details }}"},
        "links": [{"href": "https://x.example/{{ key }}", "text": "{{ status }}"}],
        "images": [{"src": "http://x.example/{{ key }}", "alt": "{{ severity }}"}],
    }


class TestWebhook(ProviderConformance):
    plugin = hostspec_webhook
    canary = "whoever-knows-this-may-post"
    # it knows no form of answer, and takes any 200 for a delivery
    expected: ClassVar = {
        "captive portal": {OutcomeKind.DELIVERED},
        "another 202": {OutcomeKind.DELIVERED},
    }

    def prepare(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hostspec_webhook, "TIMEOUT", 1.0)

    def installation_settings(self, url: str, secret: str) -> Mapping[str, object]:
        return {"url": secret}

    def secret(self, url: str) -> str:
        return f"{url}/{self.canary}"


class TestPaging(ProviderConformance):
    """The provider that the checks of a host use."""

    plugin = probes.paging
    wrong_addresses = ()

    def prepare(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(probes, "record", lambda *_, key, **__: self.keys().append(key))

    @contextlib.contextmanager
    def service(self) -> Iterator[Service]:
        yield Service("", self.keys)

    def keys(self) -> list[str]:
        return self.__dict__.setdefault("written", [])

    def faults(self) -> Sequence[NetworkFault]:
        return ()


class TestTickets(ProviderConformance):
    """Speaks no HTTP; it writes to a journal."""

    plugin = "tickets"
    wrong_addresses = ()

    def installation_settings(self, url: str, secret: str) -> Mapping[str, object]:
        return {"journal": url.removeprefix("http://127.0.0.1:9")}

    @contextlib.contextmanager
    def service(self) -> Iterator[Service]:
        with tempfile.TemporaryDirectory() as folder:
            journal = Path(folder, "journal")
            journal.touch()
            yield Service(str(journal), lambda: journal.read_text("utf-8").splitlines())

    def faults(self) -> Sequence[NetworkFault]:
        return ()
