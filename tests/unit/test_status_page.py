"""What the status page says: the state in one line, what needs a look, and how each system stands."""

import html
import re
from collections import Counter
from pathlib import Path

import pytest

from bridge import metrics
from bridge.observe.status import page as page_module
from bridge.observe.status.changes import Changes
from bridge.observe.status.history import Course, History, count_all
from bridge.observe.status.page import headline, row_of
from bridge.observe.status.snapshot import Snapshot, SystemView
from bridge.observe.status.sparkline import sparkline
from bridge.observe.status.troubles import Level, Trouble, troubles
from bridge.statistics import Statistics
from bridge.texts import Said, in_language
from tests.unit.conftest import Clock
from tests.unit.status_views import Counted, after_an_hour, connection, page_of, queue, system, working

TOOLS = Path(__file__).resolve().parents[2] / "tools"
NOTHING: Counter[tuple[str, str]] = Counter()
LOOK = Trouble(Level.LOOK, "a thing", "a command")
STOPPED = Trouble(Level.STOPPED, "a thing", "a command")


def texts(now: Snapshot, last_hour: Counter[tuple[str, str]] = NOTHING, stuck: tuple[str, ...] = ()) -> list[str]:
    return [trouble.text for trouble in troubles(now, last_hour, list(stuck))]


@pytest.mark.parametrize(
    ("wrong", "moved", "in_flight", "words"),
    [
        ([], 5, 0, ("ok", "Work flows")),
        ([], 0, 1, ("ok", "Work flows")),
        ([], 0, 0, ("ok", "Ready; nothing to do now")),
        ([LOOK], 5, 0, ("look", "Work flows, but something needs a look")),
        ([LOOK], 0, 0, ("look", "Ready; nothing to do now, but something needs a look")),
        ([LOOK, STOPPED], 5, 5, ("stopped", "Work does not flow")),
    ],
)
def test_one_line_sums_it_up(wrong: list[Trouble], moved: int, in_flight: int, words: tuple[str, str]) -> None:
    now = working(systems=(system("1c", in_flight=in_flight),))

    assert headline(now, wrong, moved) == words


@pytest.mark.parametrize(
    ("view", "answered", "state"),
    [
        (system("1c"), 0, ("ok", "listens")),
        (system("1c"), 3, ("ok", "flows")),
        (system("1c", in_flight=3), 0, ("ok", "at work")),
        (system("1c", consumers=0), 0, ("idle", "no listener")),
        (system("1c", consumers=0, ready=3), 3, ("look", "nobody listens")),
        (system("1c", paused="it is full"), 3, ("look", "paused: it is full")),
        (
            system("1c", queue=queue("1c.queue", trouble="1c.queue is missing")),
            0,
            ("look", "paused: 1c.queue is missing"),
        ),
        (system("1c", queue=queue("1c.queue", seen_seconds_ago=31.0)), 0, ("idle", "unknown")),
        (system("1c", queue=queue("1c.queue", seen_seconds_ago=None)), 0, ("idle", "unknown")),
    ],
)
def test_a_system_is_described_in_words(view: SystemView, answered: int, state: tuple[str, str]) -> None:
    row = row_of(view, published=0, answered=answered)

    assert (row.mark, row.state) == state


def test_where_work_flows_nothing_needs_a_look() -> None:
    assert texts(working(), Counter({("fetched", "1c"): 5, ("published", "1c"): 5, ("applied", ""): 5})) == []


def test_what_stops_the_work_comes_first() -> None:
    now = working(
        systems=(system("1c", ready=1, consumers=0), system("bitrix24", paused="it is full")),
        connections=(connection("tasks", "refused"),),
        errors=queue("errors.camunda_tasks.queue", ready=1),
    )

    assert texts(now, stuck=("leases has not turned: 7 s overdue",)) == [
        "Stuck, restart the worker: leases has not turned: 7 s overdue",
        "Connection for tasks: refused",
        "Nobody listens to 1c.queue: 1 message waits. Is its system running?",
        "Tasks for bitrix24 stay in the engine: it is full",
        "1 unusable answer waits in errors.camunda_tasks.queue",
    ]


UNREAD = queue("camunda.responses.queue", ready=7, consumers=0)


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (
            working(answers=UNREAD, engine_trouble="refused", subscribed=False),
            "7 answers wait in camunda.responses.queue until the engine is back",
        ),
        (
            working(answers=UNREAD, subscribed=False),
            "7 answers wait in camunda.responses.queue until we read it again",
        ),
        (
            working(answers=UNREAD, subscribed=None),
            "Nobody reads camunda.responses.queue: 7 answers wait. Is the response handler running?",
        ),
    ],
)
def test_answers_that_we_do_not_read_are_no_systems_fault(now: Snapshot, text: str) -> None:
    assert texts(now)[-1] == text


def test_the_error_queue_is_told_with_the_reasons_of_the_last_hour() -> None:
    now = working(errors=queue("errors.camunda_tasks.queue", ready=9))
    last_hour = Counter({("dead_letters", "invalid"): 5, ("dead_letters", "forged"): 2, ("applied", ""): 1})

    assert texts(now, last_hour) == [
        "9 unusable answers wait in errors.camunda_tasks.queue (in the last hour: invalid 5, forged 2)"
    ]


def test_tasks_without_retries_are_told_by_system_and_topic_for_as_long_as_they_wait() -> None:
    now = working(failed_tasks={("1c", "1c_sync"): 3, ("1c", "1c_load"): 1, ("default", "odd"): 2})

    assert texts(now) == [
        "Tasks of 1c failed for good and wait for a person: 1c_load 1, 1c_sync 3",
        "Tasks of default failed for good and wait for a person: odd 2",
    ]


def test_failed_tasks_are_mended_by_a_command_for_each_topic_that_a_shell_takes_as_it_stands() -> None:
    now = working(failed_tasks={("1c", "1c_sync"): 3, ("1c", "1c; odd <name>"): 1})

    (trouble,) = troubles(now, NOTHING, [])
    page = page_of(lambda: now).whole()

    assert trouble.command == "python tools/retry_incidents.py"
    assert trouble.mending == (
        "python tools/retry_incidents.py --topic '1c; odd <name>'",
        "python tools/retry_incidents.py --topic 1c_sync",
    )
    codes = [html.unescape(re.sub("<[^>]*>", "", code)).strip() for code in re.findall("<code>(.*?)</code>", page)]
    assert codes == [trouble.command, *trouble.mending]


def test_invalid_answers_may_be_dropped_and_others_are_looked_at_first() -> None:
    now = working(errors=queue("errors.camunda_tasks.queue", ready=9))

    (invalid,) = troubles(now, Counter({("dead_letters", "invalid"): 5}), [])
    (exhausted,) = troubles(now, Counter({("dead_letters", "retries_exhausted"): 5}), [])

    assert invalid.mending == ("python tools/dead_letters.py drop --reason invalid",)
    assert exhausted.mending == ()


def test_silence_lapsed_locks_and_tasks_without_a_message_are_told() -> None:
    last_hour = Counter({("no_answers", "1c"): 1, ("leases_lapsed", "1c"): 2, ("unpublishable", "default"): 3})

    assert texts(working(), last_hour) == [
        "The short locks of 2 tasks for 1c ended early in the last hour: something is slow",
        "1c took 1 task in the last hour and was silent until the lock ended: a retry each",
        "No message could carry 3 tasks for default in the last hour; see their incidents",
    ]


def test_what_a_full_queue_dropped_is_not_called_rejected() -> None:
    last_hour = Counter({("dropped", "1c"): 2, ("rejected", "1c"): 1})

    assert [(trouble.text, trouble.command) for trouble in troubles(working(), last_hour, [])] == [
        (
            "The full queue of 1c dropped 2 messages in the last hour: their tasks come again",
            "python tools/check_queues.py",
        ),
        (
            "1c rejected the message of 1 task in the last hour, or gave it back too often",
            "python tools/retry_incidents.py",
        ),
    ]


def test_what_the_engine_cannot_give_out_is_told_now_and_for_an_hour() -> None:
    now = working(not_given_out=("the engine cannot give out a task of topic x: 500 ENGINE-03040",))

    assert texts(now, Counter({("tasks_not_given_out", "1c"): 1})) == [
        "The engine cannot give out a task of topic x: 500 ENGINE-03040",
        "The engine could not give out 1 task for 1c in the last hour; see its incident",
    ]


def test_figures_that_nobody_has_seen_lately_raise_nothing() -> None:
    old = queue("1c.queue", ready=9, consumers=0, seen_seconds_ago=60.0)

    assert texts(working(systems=(system("1c", queue=old),), errors=old)) == []


def test_each_count_is_found_by_what_happened_and_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = [
        ("tasks_fetched", ["bitrix24", "bitrix_x"], 3.0),
        ("tasks_fetched", ["bitrix24", "bitrix_y"], 4.0),
        ("tasks_published", ["bitrix24", "confirmed"], 6.0),
        ("tasks_published", ["bitrix24", "unpublishable"], 1.0),
        ("tasks_published", ["bitrix24", "unsent"], 0.0),
        ("round_trip_seconds", ["bitrix24"], 2.0),
        ("responses", ["complete", "applied"], 2.0),
        ("responses", ["failure", "applied"], 1.0),
        ("dead_letters", ["invalid"], 1.0),
        ("rejected", ["1c", "rejected"], 2.0),
        ("rejected", ["1c", "delivery_limit"], 1.0),
        ("rejected", ["1c", "maxlen"], 4.0),
    ]
    monkeypatch.setattr(metrics, "totals", lambda: counted)

    assert count_all() == {
        ("fetched", "bitrix24"): 7,
        ("published", "bitrix24"): 6,
        ("unpublishable", "bitrix24"): 1,
        ("answered", "bitrix24"): 2,
        ("applied", ""): 3,
        ("dead_letters", "invalid"): 1,
        ("rejected", "1c"): 3,
        ("dropped", "1c"): 4,
    }


def test_the_last_minute_and_the_last_hour_are_told_apart(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted()

    for _ in range(2 * 3600 // 5):
        clock.advance(5)
        counted.now["fetched", "1c"] += 10
        counted.history.note()

    minute, hour = counted.history.lately()
    assert (minute["fetched", "1c"], hour["fetched", "1c"]) == (120, 7200)


def test_a_young_process_shows_what_it_has(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(fetched={"1c": 3})
    clock.advance(2)

    assert counted.history.lately() == ({("fetched", "1c"): 3}, {("fetched", "1c"): 3})


def test_what_was_counted_before_a_history_began_is_not_in_it() -> None:
    counted = Counter({("fetched", "1c"): 1000})

    assert History(lambda: counted, working, stopping=None).lately() == ({}, {})  # type: ignore[arg-type]


def test_a_process_that_stood_still_shows_what_came_since_and_not_all_there_ever_was(clock: Clock) -> None:
    counted = Counter({("fetched", "1c"): 1000})
    history = History(lambda: counted.copy(), working, stopping=None)  # type: ignore[arg-type]

    clock.advance(3700)
    counted["fetched", "1c"] += 3

    assert history.lately() == ({("fetched", "1c"): 3}, {("fetched", "1c"): 3})


def test_each_minute_of_the_last_hour_is_remembered(clock: Clock) -> None:
    clock.advance(7200)

    def course(minute: int) -> tuple[Snapshot, Counter[tuple[str, str]]]:
        now = working(systems=(system("1c", ready=minute), system("new", queue=queue("q", seen_seconds_ago=None))))
        return now, Counter({("answered", "1c"): minute * minute})

    history = after_an_hour(course).history

    of_1c, of_new = history.course("1c"), history.course("new")
    assert of_1c.answered == tuple(2 * minute - 1 for minute in range(1, 61))
    assert of_1c.waiting == tuple(range(1, 61))
    assert (set(of_new.answered), set(of_new.waiting)) == ({0}, {None})


def test_a_sparkline_is_drawn_from_the_right_each_part_up_to_its_own_top() -> None:
    drawn = sparkline(Course(answered=(0, 50, 100), waiting=(None, 1, 2)))

    assert drawn is not None
    assert drawn.rate == "M57.5 19.0L58.5 10.0L59.5 1.0"
    assert drawn.waiting == "M57.5 20L57.5 19.0L58.5 10.0L59.5 1.0L59.5 20Z"
    assert drawn.words == "last hour: at most 100 answers a minute, at most 2 messages waiting"


def test_a_process_that_does_not_see_the_answers_draws_no_line_for_them() -> None:
    drawn = sparkline(Course(answered=(0, 0), waiting=(7, 1)), has_rate=False)

    assert drawn is not None
    assert (drawn.rate, drawn.words) == ("", "last hour: at most 7 messages waiting")
    assert drawn.waiting


def test_where_nothing_waited_no_area_is_drawn_and_a_young_process_draws_nothing() -> None:
    still = sparkline(Course(answered=(0, 0), waiting=(0, 0)))

    assert still is not None
    assert still.waiting == ""
    assert sparkline(Course(answered=(1,), waiting=(1,))) is None


def changes(*snapshots: Snapshot, reconnects: int = 0) -> list[tuple[str, int]]:
    noted = Changes(working(), {})
    for snapshot in snapshots:
        noted.note(snapshot, {"tasks": reconnects})
    return [(change.text, change.count) for change in noted.lately()]


def test_what_changed_is_told_with_the_latest_first_and_equal_changes_once() -> None:
    paused = working(systems=(system("1c", paused="it is full"), system("default")))

    assert changes(paused, working(), paused, paused) == [("1c: paused", 2), ("1c: resumed", 1)]


def test_a_connection_that_was_lost_and_made_again_is_told() -> None:
    lost = working(connections=(connection("tasks", "refused"),))

    assert changes(lost, lost) == [("connection lost: tasks", 1)]
    assert changes(working(), reconnects=1) == [("connected again: tasks", 1)]


def test_connections_made_again_before_the_settings_changed_are_no_news() -> None:
    counted = Counter({("reconnects", "tasks"): 3})

    history = History(lambda: counted, working, stopping=None)  # type: ignore[arg-type]

    assert history.changes() == []


def test_an_engine_that_went_and_came_back_is_told() -> None:
    gone = working(engine_trouble="refused")

    assert changes(gone, gone, working()) == [("engine: back", 1), ("engine: unavailable", 1)]


def test_changes_are_forgotten_after_an_hour_and_are_few(clock: Clock) -> None:
    noted = Changes(working(), {})
    names = [f"system-{number}" for number in range(20)]
    noted.note(working(systems=tuple(system(name, paused="full") for name in names)), {})

    told = [change.text for change in noted.lately()]
    assert told == [f"system-{number}: paused" for number in range(19, 7, -1)]
    clock.advance(3601)
    assert noted.lately() == []


def test_only_the_changes_of_the_last_hour_are_counted(clock: Clock) -> None:
    noted = Changes(working(), {})

    for _ in range(4):
        clock.advance(1500)
        noted.note(working(engine_trouble="refused"), {})
        clock.advance(10)
        noted.note(working(), {})

    assert [(change.text, change.count) for change in noted.lately()] == [
        ("engine: back", 3),
        ("engine: unavailable", 3),
    ]


def test_the_page_tells_the_last_hour_in_the_readers_language() -> None:
    def course(minute: int) -> tuple[Snapshot, Counter[tuple[str, str]]]:
        paused = "it is full" if 20 <= minute < 25 else ""
        return working(systems=(system("1c", paused=paused),)), Counter({("answered", "1c"): 3 * minute})

    page = page_of(working, after_an_hour(course))
    with in_language("ru"):
        russian = page.whole()
    english = page.whole()

    assert '<html lang="ru">' in russian
    assert "1c: снова получает задачи" in russian
    assert "1c: resumed" in english
    section = english.partition('<section id="changes"')[2].partition("</section>")[0]
    assert len(re.findall(r"<time [^>]*>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d</time>", section)) == 2
    assert "last hour: at most 3 answers a minute, at most 0 messages waiting" in english


def test_what_keeps_work_from_flowing_is_told_in_the_readers_language() -> None:
    wrong = Said(
        "RabbitMQ cannot {act} {kind} {thing!r}: {text}", act=Said("bind"), kind="-", thing="q", text="405"
    )
    now = working(
        connections=(connection("tasks", Said("not connected yet")),),
        engine_trouble=Said("the connection ended without a reply"),
        systems=(system("1c", paused=wrong),),
    )

    with in_language("ru"):
        assert texts(now) == [
            "Соединение (tasks): ещё не подключено",
            "Движок: соединение закончилось без ответа",
            "Задачи для 1c остаются в движке: RabbitMQ не может привязать - 'q': 405",
        ]


def test_a_process_that_takes_no_tasks_says_so() -> None:
    html = page_of(lambda: working(fetches=False), Counted(applied={"": 5})).whole()

    assert "tasks are fetched by another process" in html
    assert "Work flows" in html
    assert '<td data-label="back/min">–</td>' in html


def test_a_process_that_reads_no_answers_says_so_and_shows_no_figures_of_them() -> None:
    counted = after_an_hour(lambda minute: (working(), Counter({("fetched", "1c"): minute})))

    html = page_of(lambda: working(subscribed=None), counted).whole()

    assert html.count("read by another process") == 2
    assert "Work flows" in html
    assert '<td data-label="back/min">–</td>' in html
    assert "<b>–</b> answers applied" in html
    assert "last hour: at most 0 messages waiting" in html


def test_a_change_of_the_settings_leaves_the_uptime_as_it_is(clock: Clock) -> None:
    statistics = Statistics()
    clock.advance(7_500)

    html = page_of(working, statistics=statistics).whole()

    assert "up 2 h" in html


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = page_of(working).whole()

    [icon, *links] = re.findall(r"(?:src|href)=\"([^\"]*)\"", html)
    assert icon.startswith("data:image/svg+xml,")
    assert links == ["metrics", "livez", "readyz"]
    assert "@import" not in html
    assert "url(" not in html


STYLE = (Path(page_module.__file__).parent / "page.css").read_text(encoding="utf-8")
THEMES = [
    dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", block)) for block in re.findall(r":root \{([^}]*)\}", STYLE)
]
PAIRS = [
    *((text, paper) for text in ("ink", "faint", "ok", "look", "stopped", "flow") for paper in ("paper", "card")),
    *(("ink", paper) for paper in ("look-paper", "stopped-paper")),
    ("look", "look-paper"),
    ("stopped", "stopped-paper"),
    ("card", "stopped"),
]


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "paper"), PAIRS)
def test_each_text_has_the_contrast_that_wcag_asks_for(theme: int, text: str, paper: str) -> None:
    lighter, darker = sorted((luminance(THEMES[theme][name]) for name in (text, paper)), reverse=True)

    assert (lighter + 0.05) / (darker + 0.05) >= 4.5
