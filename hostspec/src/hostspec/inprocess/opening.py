"""Opens the host of a configuration file, which another distribution reads."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from hostspec.errors import Fault, FaultsError
from hostspec.inprocess.host import Host

GROUP: Final = "hostspec.files"
"""The group of entry points of functions that read configuration files.

Each takes a `pathlib.Path`, and returns `Plugins` and a sequence of `Rule`. It raises FaultsError.
"""


def open(path: str | os.PathLike[str], *, timeout: float | None = None) -> Host:  # noqa: A001 -- as in `tarfile`
    """Return the host of a configuration file: ``alerthost.toml``, which ``alerthost`` reads.

    Its plugins are loaded, and its installations and rules checked, each secret once. Tables that
    this host has no use for (store, delivery, heartbeats, http, spool) are left alone, whatever
    they say, and so are the times of rules; accounts and rules of the store are not read. Nothing
    heavier than the plugins is imported.

    Args:
        path: of the file.
        timeout: seconds that `Host.handle` waits for providers; None for no limit.

    Raises:
        FaultsError: the file has faults, all of them at once, or no installed distribution reads
            such files.
    """
    readers = entry_points(group=GROUP)
    if not readers:
        reason = "no installed distribution reads it; install alerthost in this environment"
        raise FaultsError([Fault(os.fspath(path), reason)])
    (reader, *_) = readers
    plugins, rules = reader.load()(Path(path))
    return Host(plugins, rules, timeout=timeout)
