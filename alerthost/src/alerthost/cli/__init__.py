"""The commands of ``alerthost``."""

from __future__ import annotations
