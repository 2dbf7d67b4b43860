"""Another worker of the engine, that knows nothing of us and takes the same topic."""

from tests.faults.scene import Scene

STRANGER = "stranger"
LOCK_MS = 600_000


def fetch(scene: Scene, tasks: int) -> set[str]:
    """Lock up to that many free tasks under a worker id of its own and return their ids."""
    topic = {"topicName": scene.topics[0], "lockDuration": LOCK_MS, "variables": []}
    request = {"workerId": STRANGER, "maxTasks": tasks, "topics": [topic]}
    return {row["id"] for row in scene.api.request("POST", "/external-task/fetchAndLock", json=request)}


def complete(scene: Scene, task_ids: set[str]) -> None:
    """Complete the tasks it holds."""
    for task_id in task_ids:
        scene.api.request("POST", f"/external-task/{task_id}/complete", json={"workerId": STRANGER})
