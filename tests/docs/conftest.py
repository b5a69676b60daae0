"""The folder in which a page's blocks run, and the services that they speak to."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from chat_rooms import ChatRoom
from pages import Page

from pagerduty_plugin import settings
from pagerduty_plugin.testing import FakePagerDuty

CHECKOUT = "checkoutcheckoutcheckoutcheckout"
PLATFORM = "platformplatformplatformplatform"


@pytest.fixture
def chat_room() -> Iterator[ChatRoom]:
    with ChatRoom() as room:
        thread = threading.Thread(target=room.serve_forever, args=(0.02,))
        thread.start()
        yield room
        room.shutdown()
        thread.join()


@pytest.fixture
def page(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    chat_room: ChatRoom,
    _celery_leaves_logging_alone: None,
    _all_distributions_are_read: None,
) -> Iterator[Page]:
    """Return a folder with a fake of PagerDuty's US region, and the secrets of the pages."""
    modules = set(sys.modules)
    with FakePagerDuty(services={"checkout": CHECKOUT, "platform": PLATFORM}) as fake:
        fake.create_service("search")
        monkeypatch.setitem(settings.BASE_URLS, "us", fake.url)
        monkeypatch.setitem(settings.REST_URLS, "us", fake.url)
        monkeypatch.setenv("PD_API_TOKEN", fake.add_api_token())
        monkeypatch.setenv("PD_CHECKOUT", CHECKOUT)
        monkeypatch.setenv("CHAT_WEBHOOK", chat_room.url)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "pd_platform").write_text(f"{PLATFORM}\n", encoding="utf-8")
        (tmp_path / "token").write_text("open-sesame\n", encoding="utf-8")
        _write_alerthost(tmp_path / "bin" / "alerthost", fake.url)
        path = f"{tmp_path / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}"
        monkeypatch.setenv("PATH", path + os.environ["PATH"])
        # the tests may run on installed wheels
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
        # what the pages' commands run is covered by tests inside this process
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        page = Page(tmp_path, capsys, fake)
        with page.running, mock.patch.dict(os.environ):  # blocks may set variables
            yield page
    for name in set(sys.modules) - modules:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == tmp_path:
            del sys.modules[name]


def _write_alerthost(path: Path, us: str) -> None:
    """Write a command ``alerthost`` that uses the fake as PagerDuty's US region.

    ``explain`` sends nothing, and shows the true address.
    """
    path.parent.mkdir()
    path.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "from alerthost.cli.main import main\n"
        "from pagerduty_plugin import settings\n"
        f"if sys.argv[1:2] != ['explain']: settings.BASE_URLS['us'] = {us!r}\n"
        "main(prog_name='alerthost')\n",
        encoding="utf-8",
    )
    path.chmod(0o755)
