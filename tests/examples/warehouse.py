"""A warehouse of examples/languages: set up in a copy, started there as often as a test likes."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.system.example_process import ExampleProcess

QUEUE, KEY = "warehouse.queue", "p_reserve_goods"
ROUTING = """
default_system = "default"

[systems.warehouse]
topics = ["reserve_goods"]
lock_duration = 10_000
"""
PROCESS = """<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"
             xmlns:camunda="http://camunda.org/schema/1.0/bpmn" targetNamespace="tests">
  <process id="p_reserve_goods" isExecutable="true" camunda:historyTimeToLive="P1D">
    <startEvent id="start" /><sequenceFlow id="in" sourceRef="start" targetRef="task" />
    <serviceTask id="task" camunda:type="external" camunda:topic="reserve_goods" />
    <sequenceFlow id="out" sourceRef="task" targetRef="done" /><endEvent id="done" />
    <boundaryEvent id="no" attachedToRef="task"><errorEventDefinition camunda:errorCodeVariable="error_code"
      camunda:errorMessageVariable="error_message" /></boundaryEvent>
    <sequenceFlow id="other" sourceRef="no" targetRef="refused" /><endEvent id="refused" />
  </process>
</definitions>
"""


class Warehouse:
    """The system in one language; what it keeps on disk stays from one start to the next."""

    def __init__(self, language: str, built: Path, place: Path, settings: Mapping[str, str]) -> None:
        """Copies what was built; starts nothing."""
        self._example = f"languages/{language}"
        self._checkout = place / "checkout"
        self._settings = settings
        self._log = place / "system"
        shutil.copytree(built, self._checkout, symlinks=True)
        self._process: ExampleProcess | None = None

    @property
    def answers(self) -> set[str]:
        """The final answers that it has on disk, as `<task id>-<attempt>`: here they are the work itself."""
        return {file.name for file in (self._checkout / "examples" / self._example).glob("answers/*")}

    @property
    def output(self) -> str:
        return self.process.output

    @property
    def process(self) -> ExampleProcess:
        assert self._process is not None
        return self._process

    def start(self) -> None:
        self._process = ExampleProcess(self._example, self._log, self._settings, checkout=self._checkout)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
