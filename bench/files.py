"""An engine from a configuration file: PagerDuty with two services, and one rule for a team."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from alerthost.config import configuration, store
from alerthost.config.document import ConfigFile
from alerthost.outbox.engine import Engine
from hostspec.plugins.registry import Plugins

FILE = """
[plugins]
enabled = ["pagerduty"]

[[installations]]
provider = "pagerduty"
name = "acme"
[installations.settings]
services = [
  { name = "checkout", integration_key = "0123456789abcdef0123456789abcdef" },
  { name = "platform", integration_key = "ffffffffffffffffffffffffffffffff" },
]

[[rules]]
name = "Pages"
match = ['severity=~"error|critical"', 'team="data"']
[[rules.actions]]
use = "pagerduty.trigger"
installation = "acme"
services = ["checkout", "platform"]
"""


def write(folder: str) -> Path:
    """Write the file, beside which the store is created."""
    path = Path(folder, "alerthost.toml")
    path.write_text(FILE)
    path.chmod(0o600)
    return path


@contextlib.contextmanager
def engine_from(path: Path) -> Iterator[tuple[Engine, Plugins]]:
    """Build the engine of a file; it is not started."""
    source = ConfigFile.read(path)
    loaded = configuration.load(source, ready=True)
    with store.open_engine(source, loaded) as engine:
        yield engine, loaded.plugins
