"""The status page in a real browser."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser.conftest import Scene
from tests.browser.scenes import BROKER_DOWN, DEAD_LETTERS, FLOWS, SITUATIONS, Situation
from tests.unit.status_views import system

Show = Callable[[Situation], Scene]
Visit = Callable[..., Page]

WIDE, PHONE = ViewportSize(width=1280, height=800), ViewportSize(width=390, height=844)


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_each_situation_is_told_in_words_and_fits_any_width(
    scene: Show, visit: Visit, screenshots: Path, situation: Situation
) -> None:
    page = visit(scene(situation).url)

    for width, viewport in (("wide", WIDE), ("phone", PHONE)):
        page.set_viewport_size(viewport)
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            page.screenshot(path=screenshots / f"{situation.name}-{width}-{theme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert page.evaluate(TOO_WIDE) == []
    expect(page.get_by_role("status")).to_have_text(situation.headline)
    for words in situation.words:
        expect(page.locator("body")).to_contain_text(words)


ICON = "document.querySelector('link[rel=icon]').href"
TOO_WIDE = """() => [...document.querySelectorAll("main *")].filter(part =>
    part.getBoundingClientRect().right > part.closest(".box, .arrow, .back").getBoundingClientRect().right + 1
).map(part => part.textContent)"""


def test_the_theme_is_that_of_the_system(scene: Show, visit: Visit) -> None:
    page = visit(scene(FLOWS).url)
    papers = set()

    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    assert papers == {"rgb(244, 246, 248)", "rgb(15, 21, 27)"}


def test_it_refreshes_itself_and_leaves_alone_what_did_not_change(scene: Show, visit: Visit) -> None:
    shown = scene(DEAD_LETTERS)
    page = visit(shown.url)
    page.evaluate("document.getElementById('troubles').marked = true")
    expect(page).to_have_title("Work flows, but something needs a look – universal-worker")

    shown.snapshot = replace(shown.snapshot, systems=(system("newcomer", ready=77),))

    expect(page.locator("tbody")).to_contain_text("newcomer")
    expect(page.locator("tbody")).to_contain_text("77")
    assert page.evaluate("document.getElementById('troubles').marked")

    before = page.evaluate(ICON)
    shown.snapshot = BROKER_DOWN.snapshot

    expect(page).to_have_title("Work does not flow – universal-worker")
    assert not page.evaluate("document.getElementById('troubles').marked")
    assert page.evaluate(ICON) != before


def test_a_worker_that_has_gone_is_told(scene: Show, visit: Visit) -> None:
    shown = scene(FLOWS)
    page = visit(shown.url)
    expect(page.get_by_role("alert")).to_be_hidden()

    shown.close()

    expect(page.get_by_role("alert")).to_contain_text("does not answer")


def test_without_script_it_is_complete(scene: Show, visit: Visit) -> None:
    page = visit(scene(FLOWS).url, java_script_enabled=False)

    expect(page.get_by_role("status")).to_have_text("Work flows")
    expect(page.get_by_role("row", name="bitrix24")).to_contain_text("412")


def test_what_others_have_written_is_only_text(scene: Show, visit: Visit) -> None:
    evil = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>'\"&amp;"
    snapshot = replace(FLOWS.snapshot, engine_trouble=evil, systems=(system("1c", paused=evil),))

    page = visit(scene(replace(FLOWS, snapshot=snapshot)).url)

    expect(page.locator("#troubles")).to_contain_text(f"Engine: {evil}")
    expect(page.locator("tbody")).to_contain_text(f"paused: {evil}")
    assert page.locator("img, main script").count() == 0
    expect(page).to_have_title("Work does not flow – universal-worker")
