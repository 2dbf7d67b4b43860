"""A real browser, and pages that show what a test lays out."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from bridge.observe import StatusServer
from sandbox.ports import free_ports
from tests.browser.scenes import Situation
from tests.sandbox.processes import eventually
from tests.unit.status_views import app_of

CHROMIUM = "/usr/bin/chromium"
OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where pictures go: STATUS_SCREENSHOTS, so that a person can look at them, or the test's own folder."""
    folder = Path(os.environ.get("STATUS_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Scene:
    """A status server that shows `snapshot`; the test may change it."""

    def __init__(self, situation: Situation) -> None:
        self.snapshot = situation.snapshot
        port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}/"
        self._server = StatusServer("127.0.0.1", port, app_of(lambda: self.snapshot, situation.counted))
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        assert eventually(lambda: not free(port))

    def close(self) -> None:
        self._server.stop()
        self._thread.join()


def free(port: int) -> bool:
    with socket.socket() as door:
        return door.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def scene() -> Iterator[Callable[[Situation], Scene]]:
    with ExitStack() as open_scenes:

        def show(situation: Situation) -> Scene:
            scene = Scene(situation)
            open_scenes.callback(scene.close)
            return scene

        yield show


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page; a request that leaves its own server, or an error of its script, is a failure."""
    with ExitStack() as contexts:
        errors: list[str] = []

        def open_page(url: str, **options: object) -> Page:
            context = contexts.enter_context(browser.new_context(**options))  # type: ignore[arg-type]
            page = context.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
            page.on("request", lambda request: None if request.url.startswith(url) else errors.append(request.url))
            page.goto(url)
            return page

        yield open_page
    assert [error for error in errors if "ERR_CONNECTION" not in error] == []
