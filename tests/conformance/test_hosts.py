"""The in-process host and ``alerthost`` pass the kit."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hostspec import Alert, to_json
from hostspec.inprocess import Host
from hostspec.plugins import Plugins, PluginsError, Rule, load
from hostspec.testing import HostConfig, HostConformance, HostRefusedError, HostRule


class TestHost(HostConformance):
    def run(self, config: HostConfig, alerts: Sequence[Alert]) -> None:
        try:
            plugins = load(config.enabled)
        except PluginsError as error:
            raise HostRefusedError(str(error)) from None
        host = Host(plugins, [self.rule(plugins, rule) for rule in config.rules])
        for alert in alerts:
            host.handle(alert)

    def rule(self, plugins: Plugins, rule: HostRule) -> Rule:
        installation = plugins.installation(rule.provider, rule.installation, {})
        action = plugins.rule_action(rule.action, installation, {})
        return Rule(rule.name, [action], lambda alert: rule.team in ("", alert.labels.get("team")))


class TestAlerthost(HostConformance):
    def run(self, config: HostConfig, alerts: Sequence[Alert]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "alerthost.toml").write_text(_configuration(config), encoding="utf-8")
            lines = (json.dumps(_document(alert)) for alert in alerts)
            ran = subprocess.run(
                [sys.executable, "-m", "alerthost", "send", "--timeout", "10"],
                cwd=folder,
                input="\n".join(lines),
                capture_output=True,
                text=True,
                check=False,
            )
        if ran.returncode == 2:
            raise HostRefusedError(ran.stderr)


def _document(alert: Alert) -> dict[str, Any]:
    return {name: value for name, value in to_json(alert).items() if name != "repairs"}


def _configuration(config: HostConfig) -> str:
    lines = ["[plugins]", f"enabled = {json.dumps(config.enabled)}"]
    for rule in config.rules:
        match = [f'team="{rule.team}"'] if rule.team else []
        use, installation = json.dumps(rule.action), json.dumps(rule.installation)
        lines += [
            "[[installations]]",
            f"provider = {json.dumps(rule.provider)}",
            f"name = {installation}",
            "[[rules]]",
            f"name = {json.dumps(rule.name)}",
            f"match = {json.dumps(match)}",
            f"actions = [{{ use = {use}, installation = {installation} }}]",
        ]
    return "\n".join(lines)
