"""Faults of the engine's own memory: a variable and a process that it cannot read any more."""

import subprocess
import time
import zipfile
from pathlib import Path

from sandbox.engine_build import engine_jar
from tests.faults.process import deploy
from tests.faults.scene import Scene

SPOILT = 5
PACE = 0.6  # of two halves on a machine whose pace changes by half
OTHER_VARIABLE = {"value": "{}", "type": "Object"} | {
    "valueInfo": {"objectTypeName": "java.util.LinkedHashMap", "serializationDataFormat": "application/json"}
}
SPOIL = """
update act_ru_variable set type_ = 'gone' where name_ = 'spoilt_{key}';
update act_ge_bytearray set bytes_ = X'3c6e6f7420584d4c' where name_ = '{key}_broken.bpmn'
"""
REPAIR = """
update act_ru_variable set type_ = 'spin://application/json' where name_ = 'spoilt_{key}'
"""


def cannot_give_out(scene: Scene) -> None:
    """Tasks and a process that the engine cannot give out (serializer gone, BPMN that cannot be parsed)."""
    deploy(scene.api, f"{scene.key}_broken")
    scene.api.start_instance(f"{scene.key}_broken", {"topic": scene.topics[0], "number": -1})
    spoilt = [start_spoilt(scene) for _ in range(SPOILT)]
    for instance in spoilt:
        suspend(scene, instance, suspended=True)
    change_database(scene, SPOIL)
    half = scene.total // 2
    without = drain(scene, half)
    for instance in spoilt:
        suspend(scene, instance, suspended=False)
    beside = drain(scene, scene.total - half)
    check_told(scene, spoilt)
    note_pace(scene, without, beside)
    scene.finish()
    check_repaired(scene, spoilt)


def start_spoilt(scene: Scene) -> str:
    """Start an instance with a variable that is to be spoilt, and return its id."""
    variables = {
        "topic": {"value": scene.topics[0]},
        "number": {"value": -1},
        f"spoilt_{scene.key}": OTHER_VARIABLE,
    }
    trap = f"{scene.key}_trap"
    if not scene.api.request("GET", "/process-definition/count", params={"key": trap})["count"]:
        deploy(scene.api, trap)
    row = scene.api.request("POST", f"/process-definition/key/{trap}/start", json={"variables": variables})
    return str(row["id"])


def suspend(scene: Scene, instance: str, *, suspended: bool) -> None:
    """Keep the engine from offering an instance's task, or let it."""
    scene.api.request("PUT", f"/process-instance/{instance}/suspended", json={"suspended": suspended})


def change_database(scene: Scene, statements: str) -> None:
    """Stop the engine, change what it has stored, and start it again."""
    scene.engine.stop()
    library = h2_library(scene.folder)
    url = f"jdbc:h2:file:{scene.sandbox.folder / 'camunda'}"
    command = ["java", "-cp", str(library), "org.h2.tools.Shell", "-url", url, "-user", "sa", "-password", "sa"]
    subprocess.run([*command, "-sql", statements.format(key=scene.key)], check=True, capture_output=True)
    scene.engine.start()


def h2_library(folder: Path) -> Path:
    """Return the database's own tools, out of the engine's jar."""
    with zipfile.ZipFile(engine_jar()) as jar:
        name = next(name for name in jar.namelist() if "/h2-" in name)
        return Path(jar.extract(name, folder))


def drain(scene: Scene, tasks: int) -> float:
    """Bring that many tasks into the engine, then let a worker bring them out; return the seconds it took."""
    done = scene.api.finished_count(scene.key)
    with scene.load(tasks):
        pass
    began = time.monotonic()
    worker = scene.worker(f"worker-{done}")
    scene.until(lambda: scene.api.finished_count(scene.key) >= done + tasks, f"{tasks} tasks done")
    seconds = time.monotonic() - began
    if done:
        scene.until(lambda: worker.text().count("got an incident") >= SPOILT, "the incidents", 30.0)
    worker.stop()
    return seconds


def check_told(scene: Scene, spoilt: list[str]) -> None:
    """The tasks at fault have incidents, and the log names them and the process."""
    incidents = scene.api.incidents(f"{scene.key}_trap")
    words = [row["incidentMessage"] for row in incidents if row["processInstanceId"] in spoilt]
    if len(words) != SPOILT or not all("ENGINE-03040" in text for text in words):
        scene.figures.problems.append(f"{len(words)} of {SPOILT} spoilt tasks have an incident: {words[:1]}")
    log = "".join(path.read_text(encoding="utf-8") for path in scene.folder.glob("worker-*.log"))
    if "ENGINE-09003" not in log or f"topic {scene.topics[0]}" not in log:
        scene.figures.problems.append("the process that cannot be parsed is not named")


def note_pace(scene: Scene, without: float, beside: float) -> None:
    """The good tasks keep their pace beside those that cannot be given out."""
    pace = without / beside
    scene.figures.notes.append(f"pace of the others: {pace:.0%} ({without:.1f} s without, {beside:.1f} s beside)")
    if pace < PACE:
        scene.figures.problems.append(scene.figures.notes[-1])


def check_repaired(scene: Scene, spoilt: list[str]) -> None:
    """Once repaired and given new retries, the tasks at fault are done as any other."""
    change_database(scene, REPAIR)
    tasks = [row["id"] for row in scene.api.external_tasks(topicName=scene.topics[0]) if is_one_of(row, spoilt)]
    scene.api.request("PUT", "/external-task/retries", json={"externalTaskIds": tasks, "retries": 1})
    worker = scene.worker("repaired")
    trap = f"{scene.key}_trap"
    scene.until(lambda: scene.api.finished_count(trap) >= SPOILT, "the repaired tasks done")
    worker.stop()


def is_one_of(row: dict[str, object], instances: list[str]) -> bool:
    """Whether a task belongs to one of these instances."""
    return row["processInstanceId"] in instances
