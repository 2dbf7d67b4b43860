"""Faults of credentials: refused by the broker, refused by the engine, at the start and later."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tests.counted_engine import passing_on
from tests.faults.broker import note_outage_cost
from tests.faults.scene import Scene
from tests.faults.worker import Worker

RIGHT, WRONG = "the-right-password-of-a-worker", "a-wrong-password-of-a-worker"
USER = "worker"
PARTS = 4
BROKER_SECONDS = 8.0
MOMENT_SECONDS = 5.0
MOST_LOGINS = 3
THROTTLED_SECONDS = 3.0  # so long the engine does not even look at another password: no attempt on its count


def wrong_logins(scene: Scene) -> None:
    """Wrong password, wrong vhost, on either side."""
    password_file = scene.folder / "engine-password"
    scene.secrets += (RIGHT, WRONG)
    make_users(scene)
    with passing_on(scene.engine) as counted:
        settings = {
            "CAMUNDA_BASE_URL": counted.url,
            "CAMUNDA_AUTH_USERNAME": USER,
            "CAMUNDA_AUTH_PASSWORD": "",
            "CAMUNDA_AUTH_PASSWORD_FILE": str(password_file),
            "RABBITMQ_USERNAME": scene.name,
            "RABBITMQ_PASSWORD": RIGHT,
        }
        password_file.write_text(RIGHT, encoding="utf-8")
        worker = broker_refuses_at_start(scene, settings)
        broker_refuses_vhost(scene, worker)
        engine_refuses_for_a_moment(scene)
        check_logins(scene, counted.refused_at)
        worker.stop()
        counted.refused_at.clear()
        engine_refuses_at_start(scene, settings, password_file, counted.refused_at)
        scene.finish()


def broker_refuses_at_start(scene: Scene, settings: dict[str, str]) -> Worker:
    """Start a worker whose password the broker learns only later."""
    scene.broker.api.add_user(scene.name, WRONG)
    scene.broker.api.set_permissions(scene.name, scene.name)
    with scene.load(scene.total // PARTS):
        worker = scene.worker(**settings)
        before = worker.usage()
        scene.pause(BROKER_SECONDS)
        note_outage_cost(scene, *worker.usage().since(before))
        scene.broker.api.add_user(scene.name, RIGHT)
        scene.until_seen(scene.total // PARTS)
    return worker


def broker_refuses_vhost(scene: Scene, worker: Worker) -> None:
    """Take the vhost from a worker that runs, and give it back."""
    scene.watch.note_risk()
    scene.broker.api.remove_permissions(scene.name, scene.name)
    scene.broker.ctl("close_all_connections", "--vhost", scene.name, "the test wants it")
    with scene.load(scene.total // PARTS):
        before = worker.usage()
        scene.pause_at_risk(BROKER_SECONDS)
        note_outage_cost(scene, *worker.usage().since(before))
        scene.broker.api.set_permissions(scene.name, scene.name)
        scene.until_seen(2 * scene.total // PARTS)


def engine_refuses_for_a_moment(scene: Scene) -> None:
    """Let the engine have another password while tasks and answers are on their way; it needs no restart."""
    with scene.load(scene.total // PARTS):
        scene.until_seen(2 * scene.total // PARTS + 50)
        change_password(scene, WRONG)
        scene.pause_at_risk(MOMENT_SECONDS)
        change_password(scene, RIGHT)
        scene.until_seen(3 * scene.total // PARTS)


def engine_refuses_at_start(
    scene: Scene, settings: dict[str, str], password_file: Path, refused_at: Sequence[float]
) -> None:
    """Start a worker with a wrong password, and put the right one into its file later."""
    password_file.write_text(WRONG, encoding="utf-8")
    with scene.load(scene.total - 3 * (scene.total // PARTS)):
        scene.worker("again", **settings)
        scene.pause_at_risk(scene.scale.refused_seconds)
        check_logins(scene, refused_at)
        password_file.write_text(RIGHT, encoding="utf-8")
        scene.until_seen(scene.total)


def make_users(scene: Scene) -> None:
    """Let the engine know the worker's user."""
    person = {"id": USER, "firstName": "-", "lastName": "-", "email": "-"}
    scene.api.request("POST", "/user/create", json={"profile": person, "credentials": {"password": RIGHT}})


def change_password(scene: Scene, password: str) -> None:
    """Give the worker's user another password at the engine."""
    scene.watch.note_risk()
    body = {"password": password, "authenticatedUserPassword": scene.engine.password}
    scene.api.request("PUT", f"/user/{USER}/credentials", json=body)
    scene.watch.note_risk()


def check_logins(scene: Scene, refused_at: Sequence[float]) -> None:
    """At most three logins with the same refused credentials; what was under way together is one."""
    logins = bool(refused_at) + sum(later - earlier > THROTTLED_SECONDS for earlier, later in pairwise(refused_at))
    scene.figures.notes.append(f"the engine refused {len(refused_at)} requests, {logins} logins")
    if not 1 <= logins <= MOST_LOGINS:
        scene.figures.problems.append(scene.figures.notes[-1])
