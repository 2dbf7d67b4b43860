"""The tool of the error queue, without a broker: one message at a time, and a word also where there is none."""

import argparse
import gzip
import json
import weakref
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, cast

import pytest
from pika.spec import BasicProperties

from bridge.routing import Routing, System
from tools.dead_letters import COMMANDS, Choice, Desk, _parser
from tools.lib.browser import Found, QueueBrowser

MANY = 10
ROUTING = Routing([System("bitrix24", 600_000, ("bitrix_create_task",))], System("default", 600_000))


class Letter(Found):
    """A message that can be watched."""


class Browser:
    """Hands out messages, and writes down what is done in which order, and how many are still held."""

    def __init__(self, **headers: Any) -> None:
        self.headers = {"x-error-reason": "invalid", "x-task-id": "t", **headers}
        self.events: list[str] = []
        self.most_held = 0
        self._given: list[weakref.ref[Letter]] = []

    def messages(self) -> Iterator[Found]:
        for number in range(MANY):
            self.most_held = max(self.most_held, sum(given() is not None for given in self._given))
            self.events.append(f"get {number}")
            letter = Letter(number, b"body", self.headers, BasicProperties())
            self._given.append(weakref.ref(letter))
            yield letter
            del letter

    def drop(self, found: Found) -> None:
        self.events.append(f"drop {found.tag}")

    def move(self, found: Found, _queue: str, _keep: Callable[[str], bool]) -> None:
        self.events.append(f"move {found.tag}")


def run(browser: Browser, command: str, *, found: Iterator[Found] | None = None, **options: Any) -> int:
    arguments = argparse.Namespace(**{"json": False, "dry_run": False, "task_id": None, **options})
    messages = browser.messages() if found is None else found
    return COMMANDS[command](Desk(cast(QueueBrowser, browser), ROUTING, arguments), messages)


@pytest.mark.parametrize("command", [*COMMANDS])
@pytest.mark.parametrize("as_json", [False, True])
def test_many_letters_are_never_held_at_once(command: str, as_json: bool) -> None:
    browser = Browser()

    assert run(browser, command, json=as_json) == MANY

    assert browser.most_held <= 2


@pytest.mark.parametrize(("command", "act"), [("drop", "drop"), ("replay", "move")])
def test_each_letter_is_dealt_with_before_the_next_is_taken(command: str, act: str) -> None:
    browser = Browser()

    run(browser, command)

    assert browser.events[:4] == ["get 0", f"{act} 0", "get 1", f"{act} 1"]


def test_a_dry_run_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    browser = Browser()

    run(browser, "drop", dry_run=True)

    assert not any("drop" in event for event in browser.events)
    assert "would drop invalid t\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", [*COMMANDS])
def test_where_nothing_is_found_it_is_said(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Browser(), command, found=iter(()), task_id="t9") == 0

    assert "Nothing there" in capsys.readouterr().out


def test_a_dead_letter_that_is_unknown_is_said_beside_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Browser(), "show", found=iter(()), task_id="t9", json=True) == 0

    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "Nothing there for task t9.\n")


def test_what_a_partner_wrote_is_text_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    browser = Browser(**{"x-error-detail": "task_id '[/red]' is [bold]missing"})

    run(browser, "list")

    assert "[/red]" in capsys.readouterr().out


def test_a_packed_answer_is_shown_unpacked(capsys: pytest.CaptureFixture[str]) -> None:
    packed = gzip.compress("{Анна}".encode())
    forms: list[Any] = ["gzip", b"\xcf", None]
    letters = [Letter(1, packed, {}, BasicProperties(content_encoding=form)) for form in forms]

    assert run(Browser(), "show", found=iter(letters)) == 3

    assert capsys.readouterr().out.count("{Анна}") == 1


def test_odd_headers_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    browser = Browser(odd=[{"a": [b"\xcf", 0.75]}])

    run(browser, "show", json=True)

    assert json.loads(capsys.readouterr().out.splitlines()[0])["headers"]["odd"][0]["a"][1] == 0.75


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"taskId": "t7", "response_type"', {}),
        (b"?", {"x-task-id": "t7"}),
        (b'{"task_id": "t8"}', {"x-task-id": "t7"}),
    ],
)
def test_an_answer_is_found_by_the_task_that_is_listed(body: bytes, headers: dict[str, Any]) -> None:
    letter = Found(1, body, headers, BasicProperties())

    assert Choice(task_id="t7").takes(letter)
    assert not Choice(task_id="t8").takes(letter)


@pytest.mark.parametrize("failed_at", ["", "yesterday", 5, None, [1], "0001-01-01T00:00:00+14:00"])
def test_a_letter_of_no_known_age_is_not_old(failed_at: object) -> None:
    letter = Found(1, b"", {"x-failed-at": failed_at}, BasicProperties())

    assert not Choice(older_than=timedelta(days=1)).takes(letter)


def test_nothing_is_older_than_time_itself() -> None:
    arguments = _parser().parse_args(["list", "--older-than", "99999999999999d"])

    letter = Found(1, b"", {"x-failed-at": "2020-01-01T00:00:00"}, BasicProperties())
    assert not Choice(older_than=arguments.older_than).takes(letter)


def test_a_letter_without_a_zone_has_an_age() -> None:
    letter = Found(1, b"", {"x-failed-at": "2020-01-01T00:00:00"}, BasicProperties())

    assert Choice(older_than=timedelta(days=1)).takes(letter)
