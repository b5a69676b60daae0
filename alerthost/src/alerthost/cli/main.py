"""The command line of ``alerthost``."""

from __future__ import annotations

import logging

import click

from alerthost.cli import (
    check,
    connect,
    deliveries,
    explain,
    getting_started,
    incidents,
    installations,
    plugins,
    run,
    send,
    service_test,
    services,
    store,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="alerthost")
def main() -> None:
    """Receive alerts as JSON, match them by rules, and send them through plugins."""
    # planning failures are shown beside their line already
    logging.getLogger("hostspec.planning").addHandler(logging.NullHandler())


for _command in (
    check.check,
    connect.connect,
    deliveries.deliveries,
    deliveries.discard,
    deliveries.replay,
    getting_started.demo,
    installations.disconnect,
    explain.explain,
    incidents.incidents,
    incidents.resolve,
    getting_started.init,
    installations.installations,
    plugins.plugins,
    plugins.schema,
    run.run,
    send.send,
    service_test.test,
    services.services,
    store.new_key,
    store.reseal,
    store.store,
):
    main.add_command(_command)
