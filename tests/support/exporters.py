"""Serves a gauge that the test sets, for a program that scrapes it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SCRAPING = """
scrape_configs:
  - job_name: node
    scrape_interval: 1s
    static_configs: [{{targets: ["{target}"]}}]
"""


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

    @property
    def scraping(self) -> str:
        """The part of Prometheus' configuration that scrapes it."""
        return SCRAPING.format(target=self.target)


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
def exporting(gauge: str, value: float) -> Iterator[Exporter]:
    """Serve a gauge in this block."""
    with Exporter(gauge) as exporter:
        exporter.value = value
        thread = threading.Thread(target=exporter.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield exporter
        finally:
            exporter.shutdown()
            thread.join()
