"""Runs ``alerthost`` as ``python -m hostspec.host``."""

from __future__ import annotations

from hostspec.host import main

main()
