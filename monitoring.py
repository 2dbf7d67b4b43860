"""What an operator sees: the logs and the statistics line."""

import logging
import sys
import threading
import time
from pathlib import Path

from loguru import logger

TEXT_FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS} | {level: <7} | {thread.name} | {message}"
ROTATE_AT = "50 MB"
KEPT_FILES = 5


def configure_logs(directory: Path, level: str, log_format: str, *, file_name: str) -> None:
    """Log to stderr and to `<directory>/<file_name>.log` (all) and `<file_name>_errors.log` (ERROR and up).

    A folder that cannot be written is a warning: stderr has it all.
    """
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # its errors reach us as exceptions
    logger.remove()
    as_json = log_format == "json"
    _add_sink(sys.stderr, level, as_json=as_json)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _add_sink(directory / f"{file_name}.log", level, as_json=as_json)
        _add_sink(directory / f"{file_name}_errors.log", "ERROR", as_json=as_json)
    except OSError as error:
        logger.warning("LOG_DIR {}: {}; logging to stderr only", directory, error)


def _add_sink(sink: object, level: str, *, as_json: bool) -> None:
    rotation = (
        {"rotation": ROTATE_AT, "retention": KEPT_FILES, "encoding": "utf-8"} if isinstance(sink, Path) else {}
    )
    # diagnose would print the values of variables, which may be secrets
    logger.add(sink, level=level, format=TEXT_FORMAT, serialize=as_json, diagnose=False, **rotation)  # type: ignore[call-overload]


class Statistics:
    """Counts since the start; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self.succeeded = 0
        self.failed = 0

    def add(self, *, succeeded: int = 0, failed: int = 0) -> None:
        """Count tasks taken from the engine: `succeeded` are confirmed in a queue, `failed` are not."""
        with self._lock:
            self.succeeded += succeeded
            self.failed += failed

    def line(self) -> str:
        """Return the statistics line, whose Russian words are part of its contract."""
        uptime = int(time.monotonic() - self._started)
        with self._lock:
            taken = self.succeeded + self.failed
            return (
                f"Monitor - Uptime: {uptime}s | Обработано: {taken} | "
                f"Успешно: {self.succeeded} | Ошибки: {self.failed}"
            )
