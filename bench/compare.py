"""The worker beside other bridges and the engine's ceiling: in turn, on the same warm engine and broker."""

import os
import threading
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench import machine, plot, report
from bench.contenders import CEILING, CONTENDERS, Contender, in_turn
from bench.processes import machine_cpu_seconds
from bench.results import BACKLOG, PACED, Result, Results
from bench.scene import Stage
from bench.trial import Pace, Trial, backlog, paced, warm
from sandbox.engine_build import engine_jar
from sandbox.runs import Run
from sandbox.sandbox import Sandbox

_QUIET_PERCENT = 8
_QUIET_WAIT_SECONDS = 60
_LOOK_SECONDS = 2
_TIRED = 0.85  # of the best ceiling so far: from there on the engine is renewed


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    rounds: int
    instances: int
    pace: Pace
    warm: int
    repeats: int

    def options(self) -> dict[str, float]:
        """Returns the figures of the plan by the names of the command line."""
        pace = {"rate": self.pace.rate, "seconds": self.pace.seconds, "lead_in": self.pace.lead_in_seconds}
        counts = {"rounds": self.rounds, "backlog": self.instances, "warm": self.warm, "repeats": self.repeats}
        return {**counts, **pace}


def add_options(parser: ArgumentParser) -> None:
    """Declares the options."""
    names = ",".join(CONTENDERS)
    parser.add_argument("--only", type=contenders_named, default=names, help=f"who takes part (default {names})")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, the contenders in turn (default 5)")
    parser.add_argument("--backlog", type=int, default=3000, help="instances of a backlog (default 3000)")
    parser.add_argument("--rate", type=float, default=50, help="instances per second of the pace (default 50)")
    parser.add_argument("--seconds", type=float, default=20, help="how long to keep the pace (default 20)")
    parser.add_argument("--lead-in", type=float, default=5, help="seconds at the pace, not counted (default 5)")
    parser.add_argument("--warm", type=int, default=4000, help="instances to warm an engine with (default 4000)")
    parser.add_argument("--repeats", type=int, default=3, help="how often a disturbed run is repeated (default 3)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="keep everything in a file, from the first run on"
    )
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw compare.png and compare.svg")
    parser.add_argument(
        "--from", type=Path, dest="source", metavar="FILE", help="measure nothing, show such a file"
    )


def contenders_named(names: str) -> list[Contender]:
    """Returns the contenders of a comma list. Raises ArgumentTypeError for an unknown one."""
    wanted = names.split(",")
    if unknown := [name for name in wanted if name not in CONTENDERS]:
        raise ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(CONTENDERS)}")
    return [CONTENDERS[name] for name in wanted]


def measure(options: Namespace) -> int:
    """Measures or reads, and shows; returns 1 if our worker lost or doubled anything."""
    results = Results.read(options.source) if options.source else _compare(options)
    report.show(results)
    if options.plot:
        plot.draw(results, options.plot)
    return 1 if any(run.is_ours for run in results.wrong_runs()) else 0


def _compare(options: Namespace) -> Results:
    pace = Pace(options.rate, options.seconds, options.lead_in)
    plan = Plan(options.rounds, options.backlog, pace, warm=options.warm, repeats=options.repeats)
    engine_jar()  # it says so when it has to build first, and so do the peers
    for contender in options.only:
        contender.prepare()
    say("starting an engine and a broker")
    with Sandbox() as sandbox, Run() as run:
        results = Results(machine.facts(sandbox), plan.options())
        Comparison(Stage(sandbox, run), plan, results, options.json).run(options.only)
    return results


class Comparison:
    """The rounds; each run is in the file as soon as it is over."""

    def __init__(self, stage: Stage, plan: Plan, results: Results, file: Path | None) -> None:
        """Takes where to play, what to measure, and where to keep it."""
        self._stage = stage
        self._plan = plan
        self._results = results
        self._file = file
        self._best_ceiling = 0.0

    def run(self, contenders: Sequence[Contender]) -> None:
        """Measures all rounds."""
        self._warm()
        for number in range(1, self._plan.rounds + 1):
            turns = in_turn(contenders, number)
            # A backlog leaves the engine's compiler with work, which a pace would show as latency: so paces first.
            for measurement in (PACED, BACKLOG):
                for contender in turns:
                    if (measurement, contender.name) != (PACED, CEILING):  # it has no messages to wait for
                        self._measure(contender, measurement, number)
            if number < self._plan.rounds:
                self._renew_tired_engine(number)

    def _warm(self) -> None:
        say(f"warming the engine with {self._plan.warm} instances")
        warm(self._stage, CONTENDERS[CEILING], self._plan.warm)

    def _measure(self, contender: Contender, measurement: str, number: int) -> None:
        """Measures until nobody disturbs, at most `repeats` times more; the least disturbed run counts."""
        say(f"round {number} of {self._plan.rounds}: {contender.name}, {measurement}")
        attempts: list[Result] = []
        while not attempts or (attempts[-1].is_disturbed and len(attempts) <= self._plan.repeats):
            if attempts:
                say(f"  others used {attempts[-1].others_percent:.0f} % of the machine: once more")
                _wait_quiet()
            attempts.append(result_of(self._play(contender, measurement), contender, measurement, number))
            say(f"  {report.line(attempts[-1])}")
            self._results.keep(attempts)
            self._save()

    def _play(self, contender: Contender, measurement: str) -> Trial:
        if measurement == BACKLOG:
            return backlog(self._stage, contender, self._plan.instances)
        return paced(self._stage, contender, self._plan.pace)

    def _renew_tired_engine(self, number: int) -> None:
        ceiling = next((run for run in self._results.of(BACKLOG, CEILING) if run.round == number), None)
        rate = ceiling.figures["tasks_per_s"] if ceiling else None
        if rate is None:
            return
        self._best_ceiling = max(self._best_ceiling, rate)
        if rate >= _TIRED * self._best_ceiling:
            return
        share = rate / self._best_ceiling
        note = f"the ceiling of round {number} was {share:.2f} of the best so far: the engine was renewed after it"
        say(note)
        self._results.notes.append(note)
        self._save()
        self._stage.restart_engine()
        self._best_ceiling = 0.0
        self._warm()

    def _save(self) -> None:
        if self._file:
            self._results.write(self._file)


def result_of(trial: Trial, contender: Contender, measurement: str, number: int) -> Result:
    """Returns what is kept of a trial."""
    fate = trial.fate
    return Result(
        contender=contender.name,
        is_ours=contender.is_ours,
        measurement=measurement,
        round=number,
        at=datetime.now().isoformat(timespec="seconds"),
        instances=len(fate.returned_at),
        lost=fate.lost,
        doubled=fate.doubled,
        redelivered=fate.redelivered,
        figures=trial.figures,
    )


def _wait_quiet() -> None:
    """Waits a while for those who disturb."""
    pause = threading.Event()
    capacity = _LOOK_SECONDS * (os.cpu_count() or 1) / 100
    for _ in range(_QUIET_WAIT_SECONDS // _LOOK_SECONDS):
        before = machine_cpu_seconds()
        pause.wait(_LOOK_SECONDS)
        if machine_cpu_seconds() - before < _QUIET_PERCENT * capacity:
            return


def say(text: str) -> None:
    """Tells how far it is."""
    print(f"bench: {text}", flush=True)
