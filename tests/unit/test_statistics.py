"""What an operator reads of the work that was done: the statistics line, and the line of what was published."""

from bridge.statistics import PublishedLine, Statistics
from tests.unit.conftest import Clock


def test_the_statistics_line_is_that_of_the_requirements(clock: Clock) -> None:
    statistics = Statistics()

    clock.advance(3600.9)
    statistics.add(succeeded=140)
    statistics.add(succeeded=7, failed=3)

    assert statistics.line() == "Monitor - Uptime: 3600s | Обработано: 150 | Успешно: 147 | Ошибки: 3"


def test_at_the_start_the_statistics_line_is_all_zeros(clock: Clock) -> None:
    assert Statistics().line() == "Monitor - Uptime: 0s | Обработано: 0 | Успешно: 0 | Ошибки: 0"


def test_what_is_published_is_said_once_a_second_and_nothing_is_left_out(clock: Clock, logged: list[str]) -> None:
    line = PublishedLine()

    line.add({"1c": 1})
    line.add({"1c": 2, "default": 1})
    line.add({"default": 4})
    clock.advance(1.0)
    line.say_if_due()
    line.say_if_due()
    line.add({"1c": 3})
    line.say()
    line.say()

    assert [entry.strip() for entry in logged] == [
        "INFO published 1 task: 1c 1",
        "INFO published 7 tasks: 1c 2, default 5",
        "INFO published 3 tasks: 1c 3",
    ]
