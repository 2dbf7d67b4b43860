"""The pictures of the READMEs, from one real run of the demo: its terminal as a moving SVG, and its status page.

Run by `./run pictures`. The terminal is recorded in asciinema's format (asciicast v2) and drawn by svg-term.
"""

import codecs
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from sandbox.programs import REPOSITORY

FOLDER = REPOSITORY / "docs" / "pictures"
COLUMNS, ROWS = 96, 34
_COMMAND = ["./run", "demo"]
_SVG_TERM = "svg-term-cli@2.1.1"
_CHROMIUM = "/usr/bin/chromium"
_LONGEST_PAUSE = 1.0  # seconds that the SVG waits where the recording waited longer
_LAST_PAUSE = 6.0  # seconds to read the table before the SVG begins anew
_STAYS_UP = "Ctrl-C ends them"
_PAGES = {"page.png": "en", "page.ru.png": "ru"}


def main() -> int:
    """Records the demo, looks at its page while it stays up, and draws what went well; returns the demo's code."""
    FOLDER.mkdir(exist_ok=True)
    child, terminal = pty.fork()
    if child == 0:
        os.environ |= {"COLUMNS": str(COLUMNS), "LINES": str(ROWS), "TERM": "xterm-256color"}
        os.execv(_COMMAND[0], _COMMAND)
    shown: list[tuple[float, str]] = [(0.0, f"$ {' '.join(_COMMAND)}\r\n")]
    is_photographed = False
    for event in _events(terminal):
        shown.append(event)
        sys.stdout.write(event[1])
        sys.stdout.flush()
        if not is_photographed and _STAYS_UP in _text(shown):
            is_photographed = True
            _photograph(_status_url(_text(shown)))
            os.write(terminal, b"\x03")
    exit_code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if exit_code == 0:
        _draw(shown)
    return exit_code


def _events(terminal: int) -> Iterator[tuple[float, str]]:
    """Yields what the terminal shows, with the seconds since the start, until the program has ended."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    begun = time.monotonic()
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # how Linux says that nobody holds the other side any more
            return
        yield time.monotonic() - begun, decoder.decode(chunk)


def _text(shown: list[tuple[float, str]]) -> str:
    return "".join(text for _, text in shown)


def _status_url(text: str) -> str:
    found = re.search(r"Status page\s+(http://\S+)", text)
    assert found, "the demo names its status page"
    return found.group(1)


def _photograph(url: str) -> None:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=options)
        for name, language in _PAGES.items():
            _photograph_in(browser, url, language, FOLDER / name)
        browser.close()


def _photograph_in(browser: Browser, url: str, language: str, path: Path) -> None:
    page = browser.new_page(locale=language, viewport={"width": 1100, "height": 700})
    page.goto(url)
    page.screenshot(path=path, full_page=True)
    page.close()


def _draw(shown: list[tuple[float, str]]) -> None:
    """Writes the recording and lets svg-term draw it, long pauses made short."""
    header = {"version": 2, "width": COLUMNS, "height": ROWS}
    lines: list[object] = [header]
    now = last = 0.0
    for seconds, text in shown:
        now += min(seconds - last, _LONGEST_PAUSE)
        last = seconds
        lines.append([round(now, 3), "o", text])
    lines.append([round(now + _LAST_PAUSE, 3), "o", ""])
    with tempfile.TemporaryDirectory() as folder:
        cast = Path(folder) / "demo.cast"
        cast.write_text("".join(json.dumps(line) + "\n" for line in lines))
        drawn = FOLDER / "demo.svg"
        subprocess.run(
            ["npx", "--yes", _SVG_TERM, "--window", "--in", cast, "--out", drawn], check=True, timeout=300
        )


if __name__ == "__main__":
    sys.exit(main())
