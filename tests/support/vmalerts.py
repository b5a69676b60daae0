"""Starts a real VictoriaMetrics, and a real vmalert."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from debian import find_program
from programs import Program, free_port


@contextmanager
def storing(scraping: str, folder: Path) -> Iterator[str]:
    """Run a VictoriaMetrics in this block that scrapes a gauge; yield its URL.

    Args:
        scraping: its configuration.
        folder: for its files.
    """
    program = find_program(
        "VictoriaMetrics", "victoria-metrics", fetched="usr/bin/victoria-metrics"
    )
    (folder / "scrape.yml").write_text(scraping, encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    command = [
        program,
        f"-httpListenAddr={address}",
        "-storageDataPath=victoria-metrics",
        "-promscrape.config=scrape.yml",
        "-search.latencyOffset=1s",
    ]
    with Program(command, folder) as running:
        running.wait_for("started VictoriaMetrics")
        yield f"http://{address}"


def vmalert(command: str, folder: Path) -> Program:
    """Run a documented command in a folder, with quick evaluations and a port of its own."""
    name, *arguments = shlex.split(command.replace("\\\n", ""))
    program = find_program(name, name, fetched=f"usr/bin/{name}")
    quick = ["-evaluationInterval=1s", "-httpListenAddr=127.0.0.1:0"]
    return Program([program, *arguments, *quick], folder)
