"""The directive ``settings``: the reference of a settings class, made from the class itself.

Its argument names a provider, an action (then the JSON Schema follows the tables), or a class
as ``module:Class``.
"""

from __future__ import annotations

import enum
import importlib
import json
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from hostspec import Secret, json_schema
from hostspec.plugins import load
from hostspec.settings import info_of, key_of
from hostspec.structuring import settings_to_json

PLUGINS = ("pagerduty",)


class Settings(SphinxDirective):
    """Show a settings class and every settings class inside of it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write the reference in Markdown, and parse it."""
        return self.parse_text_to_nodes("\n".join(reference(self.arguments[0])))


def reference(name: str) -> Iterator[str]:
    """Write the reference of what `name` names, in Markdown."""
    if ":" in name:
        module, _, attribute = name.partition(":")
        yield from tables(getattr(importlib.import_module(module), attribute))
        return
    plugins = load(PLUGINS)
    kind = {**plugins.providers, **plugins.actions}[name].settings
    yield from tables(kind)
    yield f"The JSON Schema, as `alerthost schema {name}` prints it:"
    yield ""
    yield "```json"
    yield json.dumps(json_schema(kind), indent=2, ensure_ascii=False)
    yield "```"


def tables(kind: Any, place: str = "", *, single: bool = False) -> Iterator[str]:
    """Write a table of a settings class, then one for each class inside of it."""
    attrs.resolve_types(kind)
    if place:
        yield f"{'The table' if single else 'Each of'} `{place}`:"
        yield ""
    yield "| setting | type | default | meaning |"
    yield "|---|---|---|---|"
    inner = []
    for field in attrs.fields(kind):
        yield f"| `{key_of(field)}` | {_type(field)} | {_default(field)} | {_meaning(field)} |"
        inner += [(each, field) for each in _classes(field.type)]
    yield ""
    for each, field in inner:
        name = f"{place}.{key_of(field)}" if place else key_of(field)
        yield from tables(each, name, single=each is field.type)


def _type(field: attrs.Attribute[Any]) -> str:
    choices = info_of(field).choices
    words = _kind(field.type)
    return f"{words}: {', '.join(f'`{choice}`' for choice in choices)}" if choices else words


_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Secret: "secret",
    Any: "anything",
    type(None): "null",
}


def _kind(kind: Any) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    if attrs.has(kind):
        return "table"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return f"text: {', '.join(f'`{member.value}`' for member in kind)}"
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return f"list of {_kind(arguments[0])}s"
    if origin is Mapping:
        return "table"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_kind, arguments))
    message = f"{kind!r} has no word for people"
    raise TypeError(message)


def _classes(kind: Any) -> Iterator[Any]:
    """Find the settings classes in a type."""
    if attrs.has(kind) and kind is not Secret:
        yield kind
    for argument in typing.get_args(kind):
        yield from _classes(argument)


def _default(field: attrs.Attribute[Any]) -> str:
    default: Any = field.default
    if default is attrs.NOTHING:
        return "required"
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a class at run time
        default = default.factory()
    if attrs.has(type(default)):
        return "its own defaults"
    value = settings_to_json(default)
    return f"`{json.dumps(value)}`" if value or value is False else "empty"


def _meaning(field: attrs.Attribute[Any]) -> str:
    info = info_of(field)
    told = [info.help or f"{info.label}."]
    if info.minimum is not None:
        told.append(f"At least {info.minimum}.")
    if info.maximum is not None:
        told.append(f"At most {info.maximum}.")
    if info.least_items:
        told.append(f"Entries: at least {info.least_items}.")
    return " ".join(told)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Tell Sphinx of the directive."""
    app.add_directive("settings", Settings)
    return {"version": "1", "parallel_read_safe": True}
