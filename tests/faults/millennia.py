"""Locks and pauses of millennia, and rows of the engine that nobody can read."""

import subprocess
import sys
from collections.abc import Sequence

from tests.faults import dead_letters
from tests.faults.observer import COMPLETE, Answer, Message
from tests.faults.odd_engine import odd_engine
from tests.faults.process import deploy
from tests.faults.scene import LOCK_MS, Scene
from tests.faults.worker import ROOT

MILLENNIA_MS = 2**53 - 1
EVERY = 50  # each so-manieth system asks for too much at its first attempt
TOOL_SECONDS = 60
NAMED = "that cannot be read and"
TOOLS = (
    ["camunda_processes.py", "--tasks"],
    ["unlock_task.py", "--task-id", "{task}", "--yes"],
)


def locked(scene: Scene) -> None:
    """A lock or a pause of millennia, and unreadable rows in the replies of the engine."""
    task = lock_for_millennia(scene)
    scene.observer.behave = asking_too_much
    with odd_engine(scene.engine.url) as engine:
        with scene.load():
            worker = scene.worker(CAMUNDA_BASE_URL=engine.url, CAMUNDA_RETRY_TIMEOUT="1000")
        too_much = [message for message in scene.observer.messages if is_greedy(message)]
        dead_letters.expect(scene, {"invalid": scene.total // EVERY})
        run_tools(scene, task)
        seen = len(scene.observer.messages)
        scene.until(lambda: any(m.task_id == task for m in scene.observer.messages), "the task that was freed")
        scene.finish()
        scene.figures.notes.append(f"{engine.odd_rows} odd rows, {len(too_much)} greedy answers, {seen} messages")
    if NAMED not in worker.text():
        scene.figures.problems.append("the odd rows were not named")


def lock_for_millennia(scene: Scene) -> str:
    """Lock a task of another process as an earlier heartbeat did, and return its id."""
    other = f"{scene.key}_other"
    deploy(scene.api, other)
    scene.api.start_instance(other, {"topic": scene.topics[0], "number": 1})
    topic = {"topicName": scene.topics[0], "lockDuration": MILLENNIA_MS, "variables": []}
    request = {"workerId": scene.worker_id, "maxTasks": 1, "topics": [topic]}
    (row,) = scene.api.request("POST", "/external-task/fetchAndLock", json=request)
    return str(row["id"])


def is_greedy(message: Message) -> bool:
    """Whether the system of this message asks for too much."""
    return message.number % EVERY == 0 and message.attempt == "first"


def asking_too_much(message: Message) -> Answer:
    """Ask for a pause of millennia now and then; the task must come again soon, and is then completed."""
    if not is_greedy(message):
        return COMPLETE
    return Answer({"response_type": "failure", "error_message": "busy", "retry_timeout": MILLENNIA_MS})


def run_tools(scene: Scene, task: str) -> None:
    """Look at the tasks and free the one that is locked for millennia, as an operator would."""
    environment = {**scene.sandbox.environment(scene.name), "CAMUNDA_LOCK_DURATION": str(LOCK_MS)}
    for tool in TOOLS:
        done = run_tool([part.format(task=task) for part in tool], environment)
        if done.returncode != 0 or "Traceback" in done.stderr:
            scene.figures.problems.append(f"{' '.join(tool)} ended with {done.returncode}: {done.stderr[-500:]}")


def run_tool(command: Sequence[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run one of the operator's tools to its end."""
    name, *options = command
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / name), *options],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=TOOL_SECONDS,
        check=False,
    )
