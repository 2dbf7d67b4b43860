"""The processes that the faults run: external tasks of a topic to be named, and an end event for each way."""

import tempfile
from pathlib import Path

from sandbox.engine_api import EngineApi

_BPMN = """<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"
             xmlns:camunda="http://camunda.org/schema/1.0/bpmn" targetNamespace="faults">
  <process id="{key}" isExecutable="true" camunda:historyTimeToLive="P7D">
    <startEvent id="start"/>
    <sequenceFlow id="to_work" sourceRef="start" targetRef="work"/>
    <serviceTask id="work" camunda:type="external" camunda:topic="${{topic}}"/>
    <sequenceFlow id="to_done" sourceRef="work" targetRef="{key}_done"/>
    <endEvent id="{key}_done"/>
    <boundaryEvent id="refused_event" attachedToRef="work">
      <errorEventDefinition errorRef="refusal"/>
    </boundaryEvent>
    <sequenceFlow id="to_refused" sourceRef="refused_event" targetRef="{key}_refused"/>
    <endEvent id="{key}_refused"/>
  </process>
  <error id="refusal" errorCode="REFUSED"/>
</definitions>
"""


# The answers of one instance come together, and meet in the engine where the branches join.
_BRANCHES = """<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"
             xmlns:camunda="http://camunda.org/schema/1.0/bpmn" targetNamespace="faults">
  <process id="{key}" isExecutable="true" camunda:historyTimeToLive="P7D">
    <startEvent id="start"/>
    <sequenceFlow id="to_fork" sourceRef="start" targetRef="fork"/>
    <parallelGateway id="fork"/>
    <sequenceFlow id="to_one" sourceRef="fork" targetRef="one"/>
    <sequenceFlow id="to_two" sourceRef="fork" targetRef="two"/>
    <sequenceFlow id="to_three" sourceRef="fork" targetRef="three"/>
    <serviceTask id="one" camunda:type="external" camunda:topic="${{topic}}"/>
    <serviceTask id="two" camunda:type="external" camunda:topic="${{topic}}"/>
    <serviceTask id="three" camunda:type="external" camunda:topic="${{topic}}"/>
    <sequenceFlow id="from_one" sourceRef="one" targetRef="join"/>
    <sequenceFlow id="from_two" sourceRef="two" targetRef="join"/>
    <sequenceFlow id="from_three" sourceRef="three" targetRef="join"/>
    <parallelGateway id="join"/>
    <sequenceFlow id="to_done" sourceRef="join" targetRef="{key}_done"/>
    <endEvent id="{key}_done"/>
  </process>
</definitions>
"""


# The engine runs what follows within the call that completes the task: each such call fails with a 500.
_TRAP = """<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"
             xmlns:camunda="http://camunda.org/schema/1.0/bpmn" targetNamespace="faults">
  <process id="{key}" isExecutable="true" camunda:historyTimeToLive="P7D">
    <startEvent id="start"/>
    <sequenceFlow id="to_work" sourceRef="start" targetRef="work"/>
    <serviceTask id="work" camunda:type="external" camunda:topic="${{topic}}"/>
    <sequenceFlow id="to_trap" sourceRef="work" targetRef="trap"/>
    <serviceTask id="trap" camunda:expression="${{missing}}"/>
  </process>
</definitions>
"""


def deploy(api: EngineApi, key: str) -> None:
    """Deploy a process `key`."""
    _deploy(api, key, _BPMN)


def deploy_branches(api: EngineApi, key: str) -> None:
    """Deploy a process `key` with three tasks at once, which join before the end."""
    _deploy(api, key, _BRANCHES)


def deploy_trap(api: EngineApi, key: str) -> None:
    """Deploy a process `key` whose task the engine never lets be completed."""
    _deploy(api, key, _TRAP)


def _deploy(api: EngineApi, key: str, bpmn: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{key}.bpmn"
        file.write_text(bpmn.format(key=key), encoding="utf-8")
        api.deploy([file], name=key)
