"""The page *Plugins*: the installed plugins, their state and their offers."""

from __future__ import annotations

from typing import Any

import attrs

from alerthost.console.view import Html, View
from hostspec.settings import info_of, key_of


def show_list(view: View) -> Html:
    """List the plugins with their providers, actions, hooks and settings."""
    plugins = view.configuration.plugins
    offered: dict[str, Any] = {**plugins.providers, **plugins.actions}
    kinds = {**plugins.settings, **{name: each.settings for name, each in offered.items()}}
    values = {
        "plugins": [
            (info, [name for name in (info.name, *info.providers, *info.actions) if name in kinds])
            for info in plugins.infos
        ],
        "labels": {name: each.label for name, each in offered.items()},
        "settings": {name: _settings(kind) for name, kind in kinds.items()},
    }
    return Html("plugins.html", values)


def _settings(kind: type) -> list[tuple[str, str]]:
    """Return the name and the explanation of each setting."""
    return [(key_of(field), info_of(field).help) for field in attrs.fields(kind)]
