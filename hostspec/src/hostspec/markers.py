"""The pluggy project name, and the two markers made from it."""

from __future__ import annotations

from typing import Final

import pluggy

PROJECT: Final = "hostspec"
"""The pluggy project name, and the entry-point group in which plugins are found."""

hookspec = pluggy.HookspecMarker(PROJECT)
"""Marks a function as the specification of a hook."""

hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the implementation of a hook."""
