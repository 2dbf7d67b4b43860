"""The demo's play: starts the instances at a steady pace and watches until all have ended."""

import sys
import threading
import time
from collections.abc import Callable

from sandbox.demo_figures import Progress, outcome, progress
from sandbox.demo_samples import Sample, samples
from sandbox.demo_show import show_links, show_outcome, showing
from sandbox.demo_stage import Stage, say, set_stage

# The slow sample system does 10 tasks/s and gets a fifth of them: it keeps up.
_STARTS_PER_SECOND = 25
_TURN_SECONDS = 0.2
_LOOK_SECONDS = 0.5
_LOOK_SECONDS_PLAIN = 2.0
_STALLED_SECONDS = 30.0


def play(instances: int) -> int:
    """Plays the whole demo; returns the exit code. Only from the main thread."""
    with set_stage() as stage:
        say(f"starting {instances} instances, {_STARTS_PER_SECOND} a second")
        ended_well = Play(stage, samples(instances)).run()
        show_links(stage)
        if sys.stdin.isatty() and sys.stdout.isatty():
            _stay_up()
    say("all that it started has ended")
    return 0 if ended_well else 1


def _stay_up() -> None:
    try:
        print("\nEngine, broker, worker and systems stay up for you to look around: Ctrl-C ends them.", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        print(flush=True)  # the terminal has shown a ^C


class Play:
    """The instances to start, and those started by id."""

    def __init__(self, stage: Stage, wanted: list[Sample]) -> None:
        """Takes the stage that is set and the instances to start; starts nothing."""
        self._stage = stage
        self._engine = stage.sandbox.engine_api()
        self._wanted = wanted
        self._started: dict[str, Sample] = {}
        self._begun = time.monotonic()

    def run(self) -> bool:
        """Starts, shows and judges; says whether every instance ended as it should."""
        with showing() as show:
            self._watch(show)
        self._stage.observer.watch(_TURN_SECONDS)  # what was on its way here when the last instance ended
        result = outcome(self._stage, len(self._wanted), self._started)
        show_outcome(self._look(), result)
        return result.as_they_should == len(self._wanted)

    def _watch(self, show: Callable[[Progress], None]) -> None:
        """Takes turns until all have ended, or until nothing more is to be expected."""
        seen = self._look()
        pause = _LOOK_SECONDS if sys.stdout.isatty() else _LOOK_SECONDS_PLAIN
        look_at = moved_at = time.monotonic()
        while seen.ended < len(self._wanted) and self._stage.worker.running():
            self._start_due()
            self._stage.observer.watch(_TURN_SECONDS)
            now = time.monotonic()
            if now < look_at:
                continue
            look_at = now + pause
            seen, before = self._look(), seen
            show(seen)
            moved_at = moved_at if seen == before else now
            if now - moved_at > _STALLED_SECONDS:
                say(f"nothing has moved for {_STALLED_SECONDS:.0f} s: giving up")
                return

    def _start_due(self) -> None:
        due = int((time.monotonic() - self._begun) * _STARTS_PER_SECOND) + 1
        for sample in self._wanted[len(self._started) : due]:
            self._started[self._engine.start_instance(sample.process, sample.variables)] = sample

    def _look(self) -> Progress:
        return progress(self._stage, wanted=len(self._wanted), started=len(self._started))
