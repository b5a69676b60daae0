"""Plugins that the checks of a host install: one that keeps a journal, and some that misbehave."""

from __future__ import annotations
