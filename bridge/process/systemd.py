"""Tells systemd how the worker is: ready, alive, stopping (the protocol of sd_notify(3))."""

import socket
import threading
import time
from collections.abc import Callable

from loguru import logger

PERIOD_SECONDS = 1.0


def tell(address: str | None, message: str) -> None:
    """Send a message such as `STOPPING=1` to the service manager's socket; without one do nothing."""
    if not address:
        return
    # A name in Linux's abstract namespace is written with an @ and begins with a NUL.
    place = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(message.encode(), place)
    except OSError as error:
        logger.warning("the service manager at {} cannot be told {}: {}", address, message, error)


def tell_stop(address: str | None) -> None:
    """Say that the worker ends."""
    tell(address, "STOPPING=1")


def tell_reload(address: str | None) -> None:
    """Say that the worker begins anew with fresh settings; READY=1 ends that.

    systemd wants to know when, to tell this reload from an earlier one.
    """
    tell(address, f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


class ServiceManager:
    """Reports every second: READY once work can flow, WATCHDOG while every loop turns, STATUS when it changes.

    `reasons_not_ready` and `stuck_loops` return a line for each reason, none where all is well.
    """

    def __init__(
        self,
        address: str,
        reasons_not_ready: Callable[[], list[str]],
        stuck_loops: Callable[[], list[str]],
        stopping: threading.Event,
    ) -> None:
        self._address = address
        self._reasons_not_ready = reasons_not_ready
        self._stuck_loops = stuck_loops
        self._stopping = stopping
        self._was_ready = False
        self._status = ""

    def run(self) -> None:
        """Report until stopping."""
        while not self._stopping.wait(PERIOD_SECONDS):
            self.report()

    def report(self) -> None:
        """Say what there is to say now."""
        stuck, reasons = self._stuck_loops(), self._reasons_not_ready()
        if not stuck:
            tell(self._address, "WATCHDOG=1")
        if not reasons and not self._was_ready:
            self._was_ready = True
            tell(self._address, "READY=1")
        status = "; ".join([*stuck, *reasons]) or "work flows"
        if status != self._status:
            self._status = status
            tell(self._address, f"STATUS={status}")
