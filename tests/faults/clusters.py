"""Nodes of a RabbitMQ cluster and of an engine on one database, killed and rolled under load."""

import re
import time

from sandbox.broker import Broker
from sandbox.cluster import Cluster
from tests.faults.broker import check_recoveries
from tests.faults.observer import complete_some_slowly
from tests.faults.scene import Scene
from tests.faults.worker import Worker

CONNECTED = re.compile(r"tasks: connected to RabbitMQ at \S+:(\d+)")
LOAD_SECONDS = 180.0  # long enough for every node to be down and back
WORKERS = ("one", "two", "three")


def broker_nodes_killed(scene: Scene) -> None:
    """Node of a RabbitMQ cluster killed (-9) that the workers use and that leads the queues, then all rolled."""
    cluster = cluster_of(scene)
    scene.observer.behave = complete_some_slowly
    with scene.load(per_second=scene.total / LOAD_SECONDS):
        workers = start_workers(scene)
        for _ in scene.strikes(2):
            node = node_of(cluster, workers[0])
            scene.watch.note_risk()
            node.kill()
            scene.note_recovery(time.time(), count_repeats=True)
            scene.watch.note_risk()
            node.start()
        for node in reversed(cluster.nodes):
            scene.watch.note_risk()
            node.stop()
            scene.pause(2.0)
            node.start()
            scene.note_recovery(time.time(), count_repeats=True)
    check_recoveries(scene)
    scene.finish()


def engine_nodes_killed(scene: Scene) -> None:
    """Each of two engine nodes on one PostgreSQL killed (-9) in turn, while three workers work and are rolled."""
    scene.observer.behave = complete_some_slowly
    with scene.load(per_second=scene.total / LOAD_SECONDS):
        workers = start_workers(scene)
        strikes = zip(scene.strikes(2), scene.sandbox.engines[::-1], strict=True)
        for _, node in strikes:
            scene.watch.note_risk()
            node.kill()
            scene.pause(5.0)
            scene.watch.note_risk()
            node.start()
            for worker in workers:
                worker.stop()
                worker.start()
            scene.note_recovery(time.time(), count_repeats=True)
    check_recoveries(scene)
    scene.finish()


def start_workers(scene: Scene) -> list[Worker]:
    """Start three workers that take each other's answers."""
    accepted = f"{scene.worker_id}-*"
    return [
        scene.worker(name, CAMUNDA_WORKER_ID=f"{scene.worker_id}-{name}", CAMUNDA_ACCEPT_WORKER_IDS=accepted)
        for name in WORKERS
    ]


def cluster_of(scene: Scene) -> Cluster:
    """Return the cluster of a clustered sandbox."""
    assert scene.sandbox.cluster is not None
    return scene.sandbox.cluster


def node_of(cluster: Cluster, worker: Worker) -> Broker:
    """Return the node that a worker publishes to."""
    return cluster.node_at(int(CONNECTED.findall(worker.text())[-1]))
