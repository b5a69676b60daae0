"""``alerthost init`` and ``demo``: a configuration file to start from, and a stand-in to try."""

from __future__ import annotations

import tempfile
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import click

from alerthost.cli.options import TIMEOUT, command, with_config
from alerthost.cli.output import Screen
from alerthost.cli.send import Sender
from alerthost.cli.session import open_session
from alerthost.config.configuration import build
from alerthost.config.document import ConfigFile, refuse
from alerthost.ingest.json_alerts import parse_alert
from hostspec.normalisation import Repair
from hostspec.plugins.loading import installed, survey
from hostspec.plugins.registry import Plugins
from hostspec.provider import Demo, Table
from hostspec.secret import Secret
from hostspec.settings import info_of, key_of
from hostspec.text import unknown_name

_SERVICE: Final = "checkout"
_HEAD: Final = """\
# Configuration of alerthost. Check it with `alerthost check`.

[plugins]
enabled = ["{plugin}"]

# An account. `alerthost schema {provider}` lists all settings.
[[installations]]
provider = "{provider}"
name = "acme"
[installations.settings]
"""
_RULE: Final = """
# Which alerts go where. `alerthost schema {action}` lists all settings of the action.
[[rules]]
name = "Pages"
match = ['severity=~"error|critical"']
[[rules.actions]]
use = "{action}"
installation = "acme"
"""


@command("Write a configuration file to start from.", example="alerthost init")
@with_config
@click.argument("provider", required=False)
def init(path: Path, provider: str | None) -> None:
    """Write a commented configuration file to start from; never overwrites a file.

    PROVIDER is required if plugins offer several.
    """
    plugins = survey(installed())
    names = list(plugins.providers)
    if provider is None and len(names) != 1:
        names = list(_demos(plugins))
    name = provider or (names[0] if len(names) == 1 else "")
    if name not in plugins.providers:
        raise click.UsageError(unknown_name(name, plugins.providers))
    text = _text(plugins, name)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        refuse(str(path), "already exists; name another file with --config")
    except OSError as error:
        refuse(str(path), f"cannot be written: {error.strerror}")
    Screen().print(f"wrote {path}; edit it, then run `alerthost check`")


def _text(plugins: Plugins, provider: str) -> str:
    plugin = next(each.name for each in plugins.infos if provider in each.providers)
    lines = [
        _HEAD.format(plugin=plugin, provider=provider),
        *_lines(plugins.providers[provider].settings),
    ]
    actions = sorted(
        (each.name, each) for each in plugins.actions.values() if each.provider == provider
    )
    for name, action in actions[-1:]:
        lines += [_RULE.format(action=name), *_lines(action.settings)]
    return "".join(lines)


def _lines(settings: type) -> Iterator[str]:
    """Yield the required settings, each with its help."""
    attrs.resolve_types(settings)
    for field in attrs.fields(settings):
        if text := _example(field):
            yield f"# {info_of(field).help}\n{key_of(field)} = {text}\n"


def _example(field: attrs.Attribute[Any]) -> str:
    """Return an example of a required setting or a list of services; empty for other settings."""
    if info_of(field).destinations:
        return f'["{_SERVICE}"]'
    entries: list[type] = [each for each in typing.get_args(field.type) if attrs.has(each)]
    if entries:
        attrs.resolve_types(entries[0])
    if entries and any(map(_is_secret, attrs.fields(entries[0]))):
        required = [each for each in attrs.fields(entries[0]) if each.default is attrs.NOTHING]
        pairs = (f"{key_of(each)} = {_example(each)}" for each in required)
        return f"[{{ {', '.join(pairs)} }}]"
    if field.default is not attrs.NOTHING:
        return ""
    return f'"env:{key_of(field).upper()}"' if _is_secret(field) else f'"{_SERVICE}"'


def _is_secret(field: attrs.Attribute[Any]) -> bool:
    return Secret in (field.type, *typing.get_args(field.type))


@command("Show how it works, without an account.", example="alerthost demo")
@click.argument("provider", required=False)
def demo(provider: str | None) -> None:
    """Show how it works, without an account: send realistic alerts to a stand-in.

    PROVIDER is required if several installed plugins have a demo.
    """
    found = _demos(survey(installed()))
    if provider is None and len(found) != 1:
        names = ", ".join(found)
        message = f"choose a demo: {names}" if found else "no installed plugin has a demo"
        raise click.UsageError(message)
    name = provider or next(iter(found))
    if name not in found:
        raise click.UsageError(unknown_name(name, found))
    screen = Screen()
    screen.exit(success=_run(found[name], screen))


def _demos(plugins: Plugins) -> dict[str, Demo]:
    found = {name: provider.demo() for name, provider in sorted(plugins.providers.items())}
    return {name: each for name, each in found.items() if each}


def _run(demo: Demo, screen: Screen) -> bool:
    """Run a demo on a temporary store; return whether everything was delivered."""
    with demo as stage, tempfile.TemporaryDirectory(prefix="alerthost-") as folder:
        alerts = stage.alerts()
        source = ConfigFile(str(Path(folder, "alerthost.toml")), "", stage.configuration())
        repairs: list[tuple[str, ...]] = []

        def show_repair(place: str, repair: Repair) -> None:
            repairs.append((place.removeprefix("line "), repair.field, repair.reason))

        screen.print_lines(stage.introduction(), "bold")
        screen.print()
        with (
            open_session(source, build(source), screen) as session,
            screen.progress("sending", len(alerts)) as session.tracker.advance,
        ):
            session.tracker.show_repair = show_repair
            read = (parse_alert(f"line {number}", text) for number, text in enumerate(alerts, 1))
            Sender(session).run(read, TIMEOUT)
            session.finish()
        screen.print()
        screen.print(session.tracker.tally.summary(), "bold")
        screen.print()
        screen.table(stage.table())
        screen.table(Table("Repairs", ("line", "field", "repair"), tuple(repairs)))
        screen.print_lines(stage.next_steps())
    return session.tracker.tally.all_well
