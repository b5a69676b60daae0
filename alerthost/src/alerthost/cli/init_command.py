"""``alerthost init``: a commented configuration file to start from."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from alerthost.config.document import refuse
from hostspec.plugins.registry import Plugins
from hostspec.provider import Provider
from hostspec.secret import Secret
from hostspec.settings import info_of, key_of

_SERVICE: Final = "checkout"
_HEAD: Final = """\
# Configuration of alerthost. `alerthost check` finds its faults.

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


def write(path: Path, plugins: Plugins, provider: Provider[Any]) -> None:
    """Write a file that sends to one account of a provider.

    Raises:
        ConfigurationError: the file is there, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_text(plugins, provider))
    except FileExistsError:
        refuse(str(path), "exists already; name another file with --config")
    except OSError as error:
        refuse(str(path), f"cannot be written: {error.strerror}")


def _text(plugins: Plugins, provider: Provider[Any]) -> str:
    info = next(each for each in plugins.infos if provider.name in each.providers)
    names = {"plugin": info.name, "provider": provider.name}
    lines = [_HEAD.format(**names), *_lines(provider.settings)]
    actions = sorted(
        (each.name, each) for each in plugins.actions.values() if each.provider == provider.name
    )
    for name, action in actions[-1:]:
        lines += [_RULE.format(action=name), *_lines(action.settings)]
    return "".join(lines)


def _lines(settings: type) -> Iterator[str]:
    """Yield the settings that an account or a rule needs."""
    attrs.resolve_types(settings)
    for field in attrs.fields(settings):
        example = _example(field)
        if example:
            yield f"# {info_of(field).help}\n{key_of(field)} = {example}\n"


def _example(field: attrs.Attribute[Any]) -> str:
    """Return an example of a required setting or a list of services; empty for others."""
    if info_of(field).destinations:
        return f'["{_SERVICE}"]'
    entries: list[type] = [each for each in typing.get_args(field.type) if attrs.has(each)]
    if entries:
        attrs.resolve_types(entries[0])
    if entries and any(map(_is_secret, attrs.fields(entries[0]))):
        return f"[{{ {', '.join(_entries(entries[0]))} }}]"
    if field.default is not attrs.NOTHING:
        return ""
    return f'"env:{key_of(field).upper()}"' if _is_secret(field) else f'"{_SERVICE}"'


def _is_secret(field: attrs.Attribute[Any]) -> bool:
    return Secret in (field.type, *typing.get_args(field.type))


def _entries(kind: type) -> Iterator[str]:
    attrs.resolve_types(kind)
    for field in attrs.fields(kind):
        if field.default is attrs.NOTHING:
            yield f"{key_of(field)} = {_example(field)}"
