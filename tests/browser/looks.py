"""How the page looks in each language, theme and width, with pictures for a person; run by `./run page`.

Pictures go to STATUS_SCREENSHOTS, or else to a folder that pytest names.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from loguru import logger
from playwright.sync_api import Page, ViewportSize

from bridge.observe.logs import configure_logs
from tests.browser.conftest import Scene
from tests.browser.scenes import SITUATIONS, Situation

Show = Callable[[Situation], Scene]
Visit = Callable[..., Page]

AXE = "axe-core@4.14.1"
WIDTHS = (320, 390, 1280, 2560)
LOCALES = {"en": "en-GB", "ru": "ru-RU"}
THEMES = ("light", "dark")
# A table, its card, and whatever is in the card: nothing may be cut or lie under its neighbour.
TOO_WIDE = """() => [...document.querySelectorAll("main table, main .box, #lately section")].filter(part =>
    part.scrollWidth > part.clientWidth || (part.closest(".box") ?? part).clientWidth < part.scrollWidth
).map(part => `${part.tagName}.${part.className}: ${part.scrollWidth} in ${part.clientWidth}`)"""
VIOLATIONS = "async () => (await axe.run()).violations.map(one => [one.id, ...one.nodes.map(node => node.html)])"


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, which finds what keeps people from reading a page."""
    folder = tmp_path_factory.mktemp("axe")
    install = ["npm", "install", "--ignore-scripts", "--no-fund", "--no-audit", "--prefix", str(folder), AXE]
    subprocess.run(install, check=True, timeout=300)
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def logged_errors(tmp_path: Path) -> None:
    """Errors that the page shows: one of them often, one that no line holds."""
    configure_logs(tmp_path, "CRITICAL", "text", file_name="camunda_worker")
    logger.error("RabbitMQ at rabbit.example:5672 refuses the login of RABBITMQ_USERNAME 'camunda'")
    for number in range(30):
        logger.error("task {}: {}", f"8f14e45f-ceea-367a-9a36-dedd4bea25{number:02}", "x" * 300)


@pytest.mark.usefixtures("logged_errors")
@pytest.mark.parametrize("language", LOCALES)
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_it_fits_every_width_and_everybody_can_read_it(
    scene: Show, visit: Visit, screenshots: Path, axe: str, situation: Situation, language: str
) -> None:
    page = visit(scene(situation).url, locale=LOCALES[language])
    page.evaluate(axe)

    wrong = {}
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        for width in WIDTHS:
            page.set_viewport_size(ViewportSize(width=width, height=900))
            page.screenshot(path=screenshots / f"{situation.name}-{language}-{theme}-{width}.png", full_page=True)
            too_wide = page.evaluate("document.documentElement.scrollWidth") - width
            wrong[theme, width] = [max(0, too_wide), *page.evaluate(TOO_WIDE), *page.evaluate(VIOLATIONS)]

    assert page.get_attribute("html", "lang") == language
    assert {place: found for place, found in wrong.items() if found != [0]} == {}
