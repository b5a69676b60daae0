"""The command line of ``alerthost``."""

from __future__ import annotations

from alerthost.cli import (  # noqa: F401 -- each adds its commands
    check,
    connect,
    deliveries,
    demo,
    execute,
    explain,
    getting_started,
    heartbeats,
    incidents,
    installations,
    plugins,
    run,
    send,
    service_test,
    services,
    store,
)
from alerthost.cli.options import root as main

__all__ = ["main"]
