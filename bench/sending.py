"""Sending alerts one after another: the plugin against what one would write without it.

All contenders send the same events to a bare responder on loopback, in turn. The official client
refuses plain http, so that everything is measured over TLS as well, where it takes part.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pagerduty
import requests  # noqa: TID253 -- what the plugin is measured against
import trustme
from figures import Figure, main
from measuring import KEY, alert, medians, responder

from hostspec import Installation, SendContext
from pagerduty_plugin import event
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.provider import PagerDuty
from pagerduty_plugin.settings import InstallationSettings, TriggerSettings
from pagerduty_plugin.trigger import Trigger
from pagerduty_plugin.truncate import encode

SLICE = 100
"""Events that one contender sends before it is the next one's turn."""

FEW = 10
"""The same for those without a session, who take long."""

GOALS = {
    "requests.Session().post of ready bytes": 1.5,
    "pagerduty.EventsApiV2Client.trigger": 1.2,
    "requests.post without a session": 2.0,
}
SESSION, OFFICIAL, WITHOUT = GOALS


def installation(url: str) -> Installation[InstallationSettings]:
    services = [{"name": "checkout", "integration_key": KEY}]
    return PagerDuty().installation("acme", {"base_url": url, "services": services})


def compared(url: str, context: ssl.SSLContext | None, *, quick: bool) -> Iterator[Figure]:
    """Compare the events per second of the plugin with those of each contender."""
    action = Trigger(Client())
    account = installation(url)
    rule = TriggerSettings(services=("checkout",))
    attempt = SendContext()
    deliveries = [
        delivery
        for number in range(SLICE)
        for delivery in action.plan(alert(number), rule, account, rule="Pages")
    ]
    bodies = [
        encode(event.body(delivery, routing_key=KEY, context=attempt)) for delivery in deliveries
    ]
    events = [json.loads(body) for body in bodies]
    address = f"{url}/v2/enqueue"
    headers = {"Content-Type": "application/json"}

    def plugin() -> None:
        for delivery in deliveries:
            assert action.send(delivery, account, attempt).delivered

    with contextlib.ExitStack() as stack:
        bare = stack.enter_context(requests.Session())

        def session() -> None:
            for body in bodies:
                assert bare.post(address, data=body, headers=headers).status_code == 202

        def without() -> None:
            for body in bodies[:FEW]:
                assert requests.post(address, data=body, headers=headers).status_code == 202

        contenders: dict[str, Callable[[], object]] = {"plugin": plugin, SESSION: session}
        if context is not None:
            official = stack.enter_context(
                pagerduty.EventsApiV2Client(KEY, base_url=url, verify=context)
            )

            def trigger() -> None:
                for one in events:
                    payload = one["payload"]
                    assert official.trigger(
                        payload["summary"],
                        payload["source"],
                        dedup_key=one["dedup_key"],
                        severity=payload["severity"],
                        payload={
                            name: payload[name]
                            for name in ("timestamp", "component", "group", "class")
                        },
                        custom_details=payload["custom_details"],
                        links=one["links"],
                    )

            contenders[OFFICIAL] = trigger
        contenders[WITHOUT] = without
        taken = medians(contenders, 1 if quick else 60)
    rate = SLICE / taken.pop("plugin")
    scheme = "http" if context is None else "https"
    for name, seconds in taken.items():
        baseline = (FEW if name == WITHOUT else SLICE) / seconds
        title = f"events/s, {scheme}, the plugin against {name}"
        yield Figure(title, rate, baseline, at_least=GOALS[name])


def measure(quick: bool) -> Iterator[Figure]:  # noqa: FBT001 -- see `figures.Measure`
    with responder() as url:
        yield from compared(url, None, quick=quick)
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        bundle, certificate = Path(folder, "ca.pem"), Path(folder, "server.pem")
        authority.cert_pem.write_to_path(bundle)
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(certificate)
        os.environ["REQUESTS_CA_BUNDLE"] = str(bundle)
        context = ssl.create_default_context(cafile=str(bundle))
        with responder(str(certificate)) as url:
            yield from compared(url, context, quick=quick)


if __name__ == "__main__":
    main(measure)
