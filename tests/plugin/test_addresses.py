"""Only absolute http(s) URLs with a host are links at PagerDuty; others go to the details."""

from __future__ import annotations

import pytest

from hostspec import Alert, Image, Link
from hostspec.text import is_address
from pagerduty_plugin import change
from pagerduty_plugin.event import TextOverrides

from .conftest import Sender

UNUSABLE = [
    "?orgId=1",
    "/alerting/x",
    "javascript:alert(1)",
    "http://:9090/graph?g0.expr=up",
    "see the wiki page 'disk'",
    "attachment://x.png",
    "prom:9090/graph",
    "localhost:3000/alerting/grafana/x/view",
    "//host.example/x",
    "http:///x",
    "https:/g.example/3.png",
    "httpsx",
    "mailto:a@b.example",
    "http://[::1/x",
    "http://host.example:abc/",
    "http://host.example:0/",
    "https://two words/x",
    "https://host.example/\x01",
]
USABLE = [
    "https://ok.example/",
    "http://prom.example:9090/graph?g0.expr=up == 0",
    "HTTPS://OK.EXAMPLE",
    "http://[::1]:9090/x",
    "http://localhost/x#y",
    "https://münchen.example/ä",
]


@pytest.mark.parametrize("address", UNUSABLE)
def test_an_unusable_address_goes_to_the_details(sender: Sender, address: str) -> None:
    alert = Alert(
        "k", "Down", severity="info", source="s", url=address,
        links=[{"href": address, "text": "Runbook"}, {"href": "https://ok.example/"}],
        images=[{"src": address}, {"src": "https://g.example/1.png", "href": address}],
    )  # fmt: skip
    (delivery,) = sender.plan(alert)
    assert sender.deliver(delivery).delivered

    assert "client_url" not in sender.event
    assert sender.event["links"] == [{"href": "https://ok.example/"}]
    assert sender.event["images"] == [{"src": "https://g.example/1.png"}]
    assert sender.payload["custom_details"] == {
        "url": address,
        "links": [{"href": address, "text": "Runbook"}],
        "images": [{"src": address}, {"href": address}],
    }
    reason = f"{address!r} is not an absolute http(s) URL with a host; moved to the details"
    fields = ("url", "links[0].href", "images[0].src", "images[1].href")
    assert [(each.field, each.reason) for each in delivery.repairs] == [
        (field, reason) for field in fields
    ]


@pytest.mark.parametrize("address", USABLE)
def test_a_usable_address_is_sent(sender: Sender, address: str) -> None:
    alert = Alert("k", "Down", severity="info", source="s", url=f" {address}\n", links=[address])
    assert sender.send(alert).delivered
    assert sender.event["client_url"] == address
    assert sender.event["links"] == [{"href": address}]
    assert "custom_details" not in sender.payload


PASSWORD = "hunter2"


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("http://user:hunter2@host.example/x?a=b@c", "http://host.example/x?a=b@c"),
        ("HTTPS://hunter2@host.example:90/@x#y@z", "HTTPS://host.example:90/@x#y@z"),
        (" https://user:hunter2@b@host.example", "https://host.example"),
    ],
)
def test_no_user_name_and_password_is_sent(sender: Sender, address: str, kept: str) -> None:
    alert = Alert(
        "k", "Down", severity="info", source="s", url=address, links=[{"href": address}],
        images=[{"src": address.replace("http:", "https:"), "href": address}],
    )  # fmt: skip
    (delivery,) = sender.plan(alert)
    assert sender.deliver(delivery).delivered
    assert sender.event["client_url"] == kept
    assert sender.event["links"] == [{"href": kept}]
    assert sender.event["images"][0]["href"].strip() == kept
    assert "custom_details" not in sender.payload
    reason = "the user name and password in the URL were removed"
    fields = ("url", "links[0].href", "images[0].src", "images[0].href")
    assert [(each.field, each.reason) for each in alert.repairs] == [
        (field, reason) for field in fields
    ]
    assert PASSWORD not in str(alert)
    assert PASSWORD not in str(sender.event)


def test_a_rule_adds_no_user_name_and_password(sender: Sender) -> None:
    (delivery,) = sender.plan(
        Alert("k", "Down", severity="info", source="s"),
        links=[{"href": "https://user:hunter2@host.example"}],
    )
    assert sender.deliver(delivery).delivered
    assert sender.event["links"] == [{"href": "https://host.example"}]
    assert [each.reason for each in delivery.repairs] == [
        "the user name and password in the URL were removed"
    ]


@pytest.mark.parametrize(
    "address",
    ["ftp://user:hunter2@h/x", "//hunter2@h/x", "http://hunter2@/x", "http://hunter2@h:x/"],
)
def test_unusable_addresses_show_no_password_either(sender: Sender, address: str) -> None:
    images = [{"src": address, "href": address}, {"src": "https://ok.example", "href": address}]
    alert = Alert("k", "Down", source="s", url=address, links=[address], images=images)
    (delivery,) = sender.plan(alert)
    assert sender.deliver(delivery).delivered
    assert sender.payload["custom_details"].keys() == {"url", "links", "images"}
    assert PASSWORD not in f"{sender.event}{delivery.repairs}"


def test_an_address_with_an_at_sign_elsewhere_is_kept(sender: Sender) -> None:
    address = "https://host.example/mail?to=//a:b@c.example"
    (delivery,) = sender.plan(Alert("k", "Down", severity="info", source="s", url=address))
    assert sender.deliver(delivery).delivered
    assert sender.event["client_url"] == address
    assert not delivery.repairs


def test_an_unusable_address_never_replaces_a_detail(sender: Sender) -> None:
    details = {"url": "mine", "links": [1]}
    alert = Alert(
        "k", "Down", severity="info", source="s", details=details, url="/x", links=[{"href": "/y"}]
    )
    (delivery,) = sender.plan(alert)
    assert sender.deliver(delivery).delivered
    assert sender.payload["custom_details"] == {
        **details,
        "details.url": "/x",
        "details.links": [{"href": "/y"}],
    }


def test_the_alerts_page_replaces_an_unusable_one_of_the_rule(sender: Sender) -> None:
    alert = Alert("k", "Down", severity="info", source="s", url="https://host.example/1")
    delivery = sender.notify(alert, client_url="/alerts/{{ key }}")
    assert sender.event["client_url"] == "https://host.example/1"
    assert sender.payload["custom_details"] == {"client_url": "/alerts/k"}
    assert [each.field for each in delivery.repairs] == ["client_url"]


def test_a_rule_s_links_are_checked_too(sender: Sender) -> None:
    alert = Alert("k", "Down", severity="info", source="s")
    sender.notify(
        alert, links=[{"href": "/r/{{ key }}", "text": "Runbook"}], images=[{"src": "x.png"}]
    )
    assert not {"links", "images"} & sender.event.keys()
    assert sender.payload["custom_details"] == {
        "links": [{"href": "/r/k", "text": "Runbook"}],
        "images": [{"src": "x.png"}],
    }


def test_a_change_event_links_to_usable_addresses_only() -> None:
    alert = Alert("k", "Deployed", url="/x", links=["/y", "https://ok.example"], images=["z.png"])
    built = change.build_change(alert, TextOverrides(images=(Image("http://g.example/1.png"),)))
    assert built.message["links"] == [
        {"href": "https://ok.example"},
        {"href": "http://g.example/1.png"},
    ]
    payload = built.message["payload"]
    assert isinstance(payload, dict)
    assert payload["custom_details"] == {
        "url": "/x",
        "links": [{"href": "/y"}],
        "images": [{"src": "z.png"}],
    }


def test_many_unusable_addresses_are_counted(sender: Sender) -> None:
    links = [Link(f"/{number}") for number in range(100)]
    (delivery,) = sender.plan(Alert("k", "Down", severity="info", source="s", links=links))
    assert len(delivery.repairs) == 11
    assert delivery.repairs[-1].reason == "90 further repairs like these"
    assert len(delivery.repairs[0].reason) < 200


def test_a_long_address_is_quoted_in_part(sender: Sender) -> None:
    (delivery,) = sender.plan(Alert("k", "Down", severity="info", source="s", url="x" * 60_000))
    (repair,) = delivery.repairs
    assert len(repair.reason) < 200


@pytest.mark.parametrize("text", ["", " ", "\x00", "http://", "https://"])
def test_blank_texts_are_not_reported_as_addresses(text: str) -> None:
    assert not is_address(text)
