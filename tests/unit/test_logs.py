"""What an operator sees: the log files, and stderr."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from loguru import logger

from bridge.observe.logs import configure_logs, recent_errors
from tests.unit.conftest import Clock

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def closed_logs() -> Iterator[None]:
    """Close what a test logs to, and log to stderr as before."""
    yield
    logger.remove()
    logger.add(sys.__stderr__ or sys.stderr)


def test_the_main_log_has_all_and_the_error_log_only_errors(tmp_path: Path) -> None:
    configure_logs(tmp_path / "logs", "INFO", "text", file_name="camunda_worker")

    logger.debug("too small")
    logger.info("published 3 tasks")
    logger.error("a person must look")

    main_log = (tmp_path / "logs/camunda_worker.log").read_text(encoding="utf-8")
    error_log = (tmp_path / "logs/camunda_worker_errors.log").read_text(encoding="utf-8")
    assert [line.split(" | ")[-1] for line in main_log.splitlines()] == ["published 3 tasks", "a person must look"]
    assert [line.split(" | ")[-1] for line in error_log.splitlines()] == ["a person must look"]


def test_a_line_tells_time_level_and_thread(tmp_path: Path) -> None:
    configure_logs(tmp_path, "INFO", "text", file_name="camunda_worker")

    logger.warning("Обработано: 150")

    _, level, thread, message = (tmp_path / "camunda_worker.log").read_text(encoding="utf-8").strip().split(" | ")
    assert (level, thread, message) == ("WARNING", "MainThread", "Обработано: 150")


def test_stderr_has_it_all_too(tmp_path: Path, capsys: Captured) -> None:
    configure_logs(tmp_path, "DEBUG", "text", file_name="camunda_worker")

    logger.debug("a detail")

    assert capsys.readouterr().err.endswith(" | a detail\n")


@pytest.mark.parametrize(
    "odd", ["\n", "\r", "\x85", "\u2028", "\x1b[2J", "\x00", "\ud800", "\N{RIGHT-TO-LEFT OVERRIDE}"]
)
def test_what_a_message_quotes_makes_no_line_of_its_own_and_commands_no_terminal(
    tmp_path: Path, capsys: Captured, odd: str
) -> None:
    configure_logs(tmp_path, "INFO", "text", file_name="camunda_worker")

    logger.error("400 Cannot convert value '{}'", f"{odd}2026-11-28 02:00:00.000 | ERROR | MainThread | forged")

    for text in ((tmp_path / "camunda_worker.log").read_text(encoding="utf-8"), capsys.readouterr().err):
        (line,) = text.splitlines()
        assert line.endswith("forged'")
        assert line.isprintable()


def test_json_logs_are_one_object_per_line(tmp_path: Path, capsys: Captured) -> None:
    configure_logs(tmp_path, "INFO", "json", file_name="camunda_worker")

    logger.info("two\nlines")

    for text in ((tmp_path / "camunda_worker.log").read_text(encoding="utf-8"), capsys.readouterr().err):
        [line] = text.splitlines()
        assert json.loads(line)["record"]["message"] == "two\nlines"


def test_a_warning_that_repeats_is_held_back_and_counted(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logs(tmp_path, "INFO", "text", file_name="camunda_worker")

    for second in range(46):
        logger.warning("no answer {}", second)
        clock.advance(1)

    lines = (tmp_path / "camunda_worker.log").read_text(encoding="utf-8").splitlines()
    shown = [line.split(" | ")[-1] for line in lines]
    assert shown == [
        *(f"no answer {second}" for second in range(10)),
        "no answer 30 (and 20 more like it before)",
        *(f"no answer {second}" for second in range(31, 40)),
    ]


def test_the_last_kinds_of_errors_are_remembered(tmp_path: Path) -> None:
    configure_logs(tmp_path, "INFO", "text", file_name="camunda_worker")

    logger.warning("no error")
    for letter in "abcdefghij":
        logger.error("error {}", letter)

    texts = [error.text for error in recent_errors()]
    assert texts == [f"error {letter}" for letter in "jihgfedc"]


def test_errors_that_differ_in_numbers_and_ids_only_are_one_with_a_count(tmp_path: Path) -> None:
    configure_logs(tmp_path, "INFO", "text", file_name="camunda_worker")

    for number in range(20):
        logger.error("task {}: refused, next attempt in {:.1f} s", uuid4(), number / 3)
    logger.error("another")

    other, refused = recent_errors()[:2]
    assert (other.text, other.count) == ("another", 1)
    assert refused.text.endswith("next attempt in 6.3 s")
    assert refused.count == 20  # ten of them are not in the log
    assert refused.since <= refused.moment


def test_lines_that_say_what_was_done_are_never_held_back(tmp_path: Path) -> None:
    configure_logs(tmp_path, "INFO", "text", file_name="camunda_worker")

    for number in range(100):
        logger.info("published {} tasks", number)

    assert len((tmp_path / "camunda_worker.log").read_text(encoding="utf-8").splitlines()) == 100


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_crash_is_logged_without_the_values_of_variables(
    tmp_path: Path, capsys: Captured, log_format: str
) -> None:
    configure_logs(tmp_path, "INFO", log_format, file_name="camunda_worker")

    def crash(password: str) -> None:
        size = len(password)
        raise RuntimeError("crashed with a password of", size, password and "characters")

    try:
        crash("correct " + "horse")
    except RuntimeError as error:
        logger.opt(exception=error).critical("crashed")

    text = (tmp_path / "camunda_worker_errors.log").read_text(encoding="utf-8") + capsys.readouterr().err
    assert "crashed with a password of" in text
    assert "correct horse" not in text


def test_an_unwritable_folder_is_a_warning(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "file"
    file.touch()

    configure_logs(file / "logs", "INFO", "text", file_name="camunda_worker")
    logger.info("work goes on")

    warning, after = capsys.readouterr().err.splitlines()
    assert f"| LOG_DIR {file / 'logs'}: " in warning
    assert warning.endswith("; logging to stderr only")
    assert "WARNING" in warning
    assert after.endswith("work goes on")


def test_an_unwritable_log_file_is_a_warning(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "camunda_worker.log").mkdir()

    configure_logs(tmp_path, "INFO", "text", file_name="camunda_worker")

    assert f"| LOG_DIR {tmp_path}: " in capsys.readouterr().err


def test_configuring_twice_does_not_log_twice(tmp_path: Path) -> None:
    for _ in range(2):
        configure_logs(tmp_path, "INFO", "text", file_name="camunda_worker")

    logger.info("once")

    assert len((tmp_path / "camunda_worker.log").read_text(encoding="utf-8").splitlines()) == 1
