"""The machine and the versions that a measurement was taken with."""

import os
import platform
import subprocess
from datetime import datetime
from pathlib import Path

from sandbox.sandbox import Sandbox


def facts(sandbox: Sandbox) -> dict[str, str]:
    """Returns what a reader must know to compare the figures with others."""
    engine = sandbox.engine_api().request("GET", "/version")
    broker = sandbox.broker.api.request("GET", "/overview")
    java = subprocess.run(["java", "--version"], capture_output=True, text=True, check=True)
    return {
        "date": datetime.now().astimezone().isoformat(timespec="minutes"),
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text()),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "java": java.stdout.splitlines()[0],
        "engine": f"Camunda {engine['version']}",
        "broker": f"RabbitMQ {broker['rabbitmq_version']}, Erlang {broker['erlang_version']}",
    }


def cpu_model(cpuinfo: str) -> str:
    """Returns the name of the first CPU in the text of /proc/cpuinfo; arm64 tells none."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
