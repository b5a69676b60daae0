"""Starts a real Prometheus Alertmanager, and sends it alerts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FETCHED = Path(__file__).parents[2] / ".venv/debian/usr"
# Debian's Alertmanager always reads its templates from /usr/share. Where it is only
# unpacked, it runs in a mount namespace of its own in which its share is the system's.
IN_ITS_OWN_TREE = (
    *("unshare", "--map-root-user", "--mount"),
    *("sh", "-c", 'mount --bind "$0" /usr/share && exec "$@"', str(FETCHED / "share")),
)


def command() -> list[str]:
    """Find Alertmanager: by its variable, on the path, or where tests/fetch-debian.sh puts it."""
    for name in (os.environ.get("ALERTMANAGER"), "prometheus-alertmanager", "alertmanager"):
        if name and (program := shutil.which(name)):
            return [program]
    fetched = FETCHED / "bin/prometheus-alertmanager"
    if not fetched.exists():
        pytest.skip("Alertmanager is not here; tests/fetch-debian.sh gets it where apt is")
    try:
        subprocess.run([*IN_ITS_OWN_TREE, "true"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"Alertmanager is unpacked, but no mount namespace can be had: {error}")
    return [*IN_ITS_OWN_TREE, str(fetched)]


@contextmanager
def running(configuration: str, folder: Path) -> Iterator[str]:
    """Run an Alertmanager with a configuration in this block; yield its URL."""
    program = command()
    file = folder / "alertmanager.yml"
    file.write_text(configuration, encoding="utf-8")
    with subprocess.Popen(
        [
            *program,
            f"--config.file={file}",
            f"--storage.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
            "--cluster.listen-address=",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            lines = []
            for line in process.stderr:
                lines.append(line)
                if match := re.search(r'msg="?Listening on"? address="?([0-9.:]+)', line):
                    break
            else:
                pytest.fail(f"Alertmanager does not listen:\n{''.join(lines)}")
            yield f"http://{match[1]}"
        finally:
            process.terminate()
            process.communicate(timeout=60)


def post(alertmanager: str, *, fires: bool, **labels: str) -> None:
    """Post an alert to Alertmanager: firing, or resolved."""
    alert = {
        "labels": {"alertname": "DiskFull", "instance": "db-1", **labels},
        "annotations": {"summary": "Disk full on db-1"},
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "2126-01-01T00:00:00Z" if fires else "2026-01-01T00:00:01Z",
    }
    request = urllib.request.Request(
        f"{alertmanager}/api/v2/alerts",
        json.dumps([alert]).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.status == 200
