"""The way to the engine: how long requests take, what is lost or refused on it, and polls that wait."""

import json
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from bridge.engine import Http, Login, Reply
from bridge.errors import Unavailable
from tests.simulation.clockwork import Clockwork
from tests.simulation.engine import TASKS, Engine, Refused, Request

Answered = Callable[[Reply | None], None]
DULL_SECONDS = 0.001
STORY_CHARACTERS = 160
LONGEST_CALL_SECONDS, LONGEST_COMPLETE_SECONDS = 30.0, 300.0
# Most replies take milliseconds, one in sixty a moment that a person would notice.
LATENCIES = (0.0005, 0.001, 0.002, 0.005, 0.02) * 10 + (0.01,) * 9 + (0.2,)
PAGE = Reply(503, b"<html>upstream connect error</html>")


@dataclass(slots=True)
class Mishap:
    """What befalls the next calls of a kind; `seconds` for `late`."""

    kind: str
    word: str
    count: int = 1
    seconds: float = 0.0


@dataclass(slots=True, eq=False)
class Poll:
    """A fetch that waits for tasks."""

    request: Request
    answered: Answered


class Network:
    """Carries requests to one engine, which may be down, frozen, or spoilt for some calls."""

    def __init__(self, clockwork: Clockwork, engine: Engine, chance: random.Random | None) -> None:
        self.engine = engine
        self.calls = 0
        self.on_effect: Callable[[str], None] = lambda _: None
        self.on_mishap: Callable[[float], None] = lambda _: None
        self.tell: Callable[[str], None] | None = None
        self._clockwork = clockwork
        self._chance = chance
        self._mishaps: list[Mishap] = []
        self._is_down = self._is_frozen = False
        self._polls: list[Poll] = []
        self._stuck: deque[Callable[[], None]] = deque()
        self._under_way: dict[Answered, None] = {}  # in the order in which they were sent
        engine.on_offer = self._wake_polls

    @property
    def is_well(self) -> bool:
        return not (self._is_down or self._is_frozen)

    # --- what goes wrong --------------------------------------------------------------------------------------

    def spoil(self, mishap: Mishap) -> None:
        self._mishaps.append(mishap)

    def go_down(self) -> None:
        """Refuse connections, and lose the replies of all calls under way."""
        self._is_down = True
        self._polls.clear()
        for answered in list(self._under_way):
            self._under_way.pop(answered, None)
            answered(None)

    def freeze(self) -> None:
        """Answer nothing; what was asked meanwhile is done after the thaw."""
        self._is_frozen = True

    def recover(self) -> None:
        self._is_down = self._is_frozen = False
        stuck, self._stuck = self._stuck, deque()
        for work in stuck:
            work()

    def _mishap(self, word: str, *kinds: str) -> Mishap | None:
        for mishap in self._mishaps:
            if mishap.word == word and mishap.kind in kinds:
                mishap.count -= 1
                longest = LONGEST_COMPLETE_SECONDS if word in ("complete", "bpmnError") else LONGEST_CALL_SECONDS
                self.on_mishap(longest if mishap.kind in ("lose", "late") else 0.0)
                if not mishap.count:
                    self._mishaps.remove(mishap)
                return mishap
        return None

    # --- a request --------------------------------------------------------------------------------------------

    def latency(self) -> float:
        if self._chance is None:
            return DULL_SECONDS
        return LATENCIES[int(self._chance.random() * len(LATENCIES))]

    def send(self, method: str, path: str, body: bytes | None, timeout_seconds: float) -> Reply:
        """Carry a request to the engine and its reply back. Raises Unavailable where none comes."""
        self.calls += 1
        if self._is_down:
            self._clockwork.sleep(DULL_SECONDS)
            raise Unavailable("no engine: connection refused")
        request = Request(method, path, json.loads(body.decode()) if body else {})
        replies: list[Reply | None] = []
        ticket = self._clockwork.ticket()

        def answered(reply: Reply | None) -> None:
            replies.append(reply)
            self._clockwork.wake(ticket)

        if self._mishap(request.word, "refuse"):
            self._clockwork.after(self.latency(), answered, None)
        else:
            self._under_way[answered] = None
            self._clockwork.after(self.latency(), self._arrive, request, answered)
        if not self._clockwork.park(timeout_seconds):
            raise Unavailable("no engine: timed out")
        reply = replies[0]
        if reply is None:
            raise Unavailable("no engine: connection reset")
        return reply

    def _arrive(self, request: Request, answered: Answered) -> None:
        if answered not in self._under_way:
            return  # the engine went down meanwhile
        if self._is_frozen:
            self._stuck.append(lambda: self._arrive(request, answered))
            return
        if self._mishap(request.word, "gateway"):
            self._reply(request, answered, PAGE)
            return
        if self._mishap(request.word, "trouble"):
            failed = Refused(500, "a listener failed", "ProcessEngineException")
            self._reply(request, answered, failed.reply)
            return
        self.engine.begin(request)
        self._clockwork.after(self.latency(), self._finish, request, answered)

    def _finish(self, request: Request, answered: Answered) -> None:
        if answered not in self._under_way:
            return
        if self._is_frozen:
            self._stuck.append(lambda: self._finish(request, answered))
            return
        reply = self._ask(request)
        if reply.body == b"[]" and request.word == "fetchAndLock" and request.body.get("asyncResponseTimeout"):
            self._wait_for_tasks(request, answered)
            return
        self._after_effect(request, answered, reply)

    def _ask(self, request: Request) -> Reply:
        reply = self.engine.finish(request)
        if self.tell is not None and reply.body not in (b"[]", b'{"version": "7.24.0"}'):
            what = request.path.removeprefix(TASKS).strip("/") or "query"
            said = reply.body.decode()[:STORY_CHARACTERS] if request.word != "topic-names" else ""
            self.tell(f"    engine: {what} is answered {reply.status} {said}".rstrip())
        return reply

    def _wait_for_tasks(self, request: Request, answered: Answered) -> None:
        poll = Poll(request, answered)
        self._polls.append(poll)
        self._clockwork.after(request.body["asyncResponseTimeout"] / 1000, self._end_poll, poll)

    def _end_poll(self, poll: Poll) -> None:
        """Look once more; the end of a lock is only seen now."""
        if poll not in self._polls:
            return
        if self._is_frozen:
            self._stuck.append(lambda: self._end_poll(poll))
            return
        self._polls.remove(poll)
        self._after_effect(poll.request, poll.answered, self._ask(poll.request))

    def _wake_polls(self) -> None:
        """Let the polls look that wait; one whose client is gone locks tasks for nobody."""
        for poll in list(self._polls):
            self._clockwork.after(DULL_SECONDS, self._look_again, poll)

    def _look_again(self, poll: Poll) -> None:
        if poll in self._polls and not self._is_frozen:
            reply = self._ask(poll.request)
            if reply.body != b"[]":
                self._polls.remove(poll)
                self._after_effect(poll.request, poll.answered, reply)

    def _after_effect(self, request: Request, answered: Answered, reply: Reply) -> None:
        if reply.status in (200, 204):
            self.on_effect(request.word)
        mishap = self._mishap(request.word, "lose", "reset", "late")
        if mishap is None:
            self._reply(request, answered, reply)
        elif mishap.kind == "reset":
            self._clockwork.after(self.latency(), self._arrived, answered, None)
        elif mishap.kind == "late":
            self._clockwork.after(mishap.seconds, self._arrived, answered, reply)

    def _reply(self, request: Request, answered: Answered, reply: Reply) -> None:
        self._clockwork.after(self.latency(), self._arrived, answered, reply)

    def _arrived(self, answered: Answered, reply: Reply | None) -> None:
        if answered in self._under_way:
            self._under_way.pop(answered, None)
            answered(reply)


class SimulatedHttp(Http):
    """The worker's door to the simulated engine."""

    def __init__(self, network: Network) -> None:
        super().__init__("http://engine/engine-rest", Login(None))
        self._network = network

    def send(self, method: str, path: str, body: bytes | None = None, *, timeout_seconds: float) -> Reply:
        return self._network.send(method, path, body, timeout_seconds)
