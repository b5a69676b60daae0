"""Starts a real Prometheus."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from debian import find_program


@contextmanager
def running(configuration: str, rules: str, folder: Path) -> Iterator[None]:
    """Run a Prometheus in this block, which keeps its data in a folder."""
    program = find_program(
        "Prometheus", "prometheus", fetched="usr/bin/prometheus", variable="PROMETHEUS"
    )
    (folder / "prometheus.yml").write_text(configuration, encoding="utf-8")
    (folder / "rules.yml").write_text(rules, encoding="utf-8")
    with (folder / "prometheus.log").open("ab") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                "--web.listen-address=127.0.0.1:0",
                "--rules.alert.resend-delay=1s",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)
