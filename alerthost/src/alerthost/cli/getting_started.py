"""``alerthost init``: writes a configuration file to start from."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import click

from alerthost.cli.demo import demos
from alerthost.cli.options import command, with_config
from alerthost.cli.output import Screen
from alerthost.config.document import refuse
from hostspec.plugins.loading import installed, survey
from hostspec.plugins.registry import Plugins
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
        names = list(demos(plugins))
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
