"""Starts a real Prometheus, which scrapes a gauge that the test sets."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FETCHED = Path(__file__).parents[2] / ".venv/debian/usr/bin/prometheus"


class Exporter(http.server.ThreadingHTTPServer):
    """Serves one gauge.

    Attributes:
        value: of the gauge.
    """

    def __init__(self, gauge: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.gauge = gauge
        self.value = 0.0

    @property
    def target(self) -> str:
        """The address to scrape."""
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Exporter

    def do_GET(self) -> None:
        body = f"{self.server.gauge} {self.server.value}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def exporting(gauge: str) -> Iterator[Exporter]:
    """Serve a gauge in this block."""
    with Exporter(gauge) as exporter:
        thread = threading.Thread(target=exporter.serve_forever, args=(0.02,))
        thread.start()
        yield exporter
        exporter.shutdown()
        thread.join()


def program() -> str:
    """Find Prometheus: by its variable, on the path, or where tests/fetch-debian.sh puts it."""
    for name in (os.environ.get("PROMETHEUS"), "prometheus", str(FETCHED)):
        if name and (found := shutil.which(name)):
            return found
    pytest.skip("Prometheus is not here; tests/fetch-debian.sh gets it where apt is")


@contextmanager
def running(configuration: str, rules: str, folder: Path) -> Iterator[None]:
    """Run a Prometheus in this block, which keeps its data in a folder."""
    (folder / "prometheus.yml").write_text(configuration, encoding="utf-8")
    (folder / "rules.yml").write_text(rules, encoding="utf-8")
    with (folder / "prometheus.log").open("ab") as log:
        process = subprocess.Popen(
            [
                program(),
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
