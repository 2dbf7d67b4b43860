"""Faults of the clocks."""

from pathlib import Path

from sandbox.errors import SandboxError
from tests.faults.scene import Scene

HOURS_AHEAD = (2, -2)
MINUTE = 60.0


def apart(scene: Scene) -> None:
    """Clocks of worker and engine two hours apart."""
    share = scene.total // len(HOURS_AHEAD)
    for hours in HOURS_AHEAD:
        scene.observer.senders_clock_ahead_seconds = 3600.0 * hours
        worker = scene.worker(f"worker{hours:+}h", **false_clock(hours))
        with scene.load(share):
            pass
        scene.until(lambda: not scene.api.running_count(scene.key), "all tasks of this clock done")
        worker.stop()
    check_clock(scene)
    scene.finish()


def check_clock(scene: Scene) -> None:
    """The messages really were dated by the false clocks."""
    wrong = [message for message in scene.observer.messages if abs(message.created_at - message.seen_at) > MINUTE]
    if wrong:
        scene.figures.problems.append(f"{len(wrong)} messages are not dated as the false clock would")


def false_clock(hours: int) -> dict[str, str]:
    """Return the environment in which a process takes the time to be some hours later; time spans stay true."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        raise SandboxError("libfaketime is not installed; ./run faults installs it")
    return {"LD_PRELOAD": str(library), "FAKETIME": f"{hours:+}h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
