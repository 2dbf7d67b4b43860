"""A process whose tasks see a variable of one name in every kind of scope, each with a value of its own."""

from pathlib import Path
from xml.sax.saxutils import quoteattr

# The activity of each task that is handed a variable of its own, with the process variable that it is made of.
SOURCES = {
    "input": ("of_input",),
    "in_sub_process": ("of_sub_process",),
    "many": ("of_many_0", "of_many_1"),
    "in_many": ("of_in_many_0", "of_in_many_1"),
    "called": ("of_call",),
}

_PROCESS = """<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"
             xmlns:camunda="http://camunda.org/schema/1.0/bpmn" targetNamespace="tests">
  <process id="scopes" isExecutable="true" camunda:historyTimeToLive="P1D">
    <startEvent id="start" /><sequenceFlow id="in" sourceRef="start" targetRef="fork" />
    <parallelGateway id="fork" />
    {flows}
    {plain}
    {input}
    <subProcess id="sub_process">
      <extensionElements><camunda:inputOutput>{sub_process}</camunda:inputOutput></extensionElements>
      <startEvent id="sub_start" />
      <sequenceFlow id="sub_in" sourceRef="sub_start" targetRef="in_sub_process" />
      {in_sub_process}
    </subProcess>
    {many}
    <subProcess id="many_sub_processes">
      <extensionElements><camunda:inputOutput>{many_sub_processes}</camunda:inputOutput></extensionElements>
      <multiInstanceLoopCharacteristics><loopCardinality>2</loopCardinality></multiInstanceLoopCharacteristics>
      <startEvent id="many_start" />
      <sequenceFlow id="many_in" sourceRef="many_start" targetRef="in_many" />
      {in_many}
    </subProcess>
    <callActivity id="call" calledElement="called_scopes">
      <extensionElements>
        <camunda:in sourceExpression="${{execution.getVariableTyped('of_call')}}" target={name} />
      </extensionElements>
    </callActivity>
  </process>
  <process id="called_scopes" isExecutable="true" camunda:historyTimeToLive="P1D">
    <startEvent id="called_start" />
    <sequenceFlow id="called_in" sourceRef="called_start" targetRef="called" />
    {called}
  </process>
</definitions>
"""
_TWICE = (
    "<multiInstanceLoopCharacteristics><loopCardinality>2</loopCardinality></multiInstanceLoopCharacteristics>"
)
_OF_LOOP = "${{loopCounter == 0 ? execution.getVariableTyped('{0}_0') : execution.getVariableTyped('{0}_1')}}"


def scopes_file(folder: Path, name: str, topic: str) -> Path:
    """Writes the process `scopes`; its tasks see the variable `name`."""
    targets = ("plain", "input", "sub_process", "many", "many_sub_processes", "call")
    file = folder / "scopes.bpmn"
    content = _PROCESS.format(
        name=quoteattr(name),
        flows="".join(
            f'<sequenceFlow id="to_{target}" sourceRef="fork" targetRef="{target}" />' for target in targets
        ),
        plain=_task("plain", topic),
        input=_task("input", topic, _input(name, "${execution.getVariableTyped('of_input')}")),
        sub_process=_input(name, "${execution.getVariableTyped('of_sub_process')}"),
        in_sub_process=_task("in_sub_process", topic),
        many=_task("many", topic, _input(name, _OF_LOOP.format("of_many")), _TWICE),
        many_sub_processes=_input(name, _OF_LOOP.format("of_in_many")),
        in_many=_task("in_many", topic),
        called=_task("called", topic),
    )
    file.write_text(content, encoding="utf-8")
    return file


def _input(name: str, expression: str) -> str:
    return f"<camunda:inputParameter name={quoteattr(name)}>{expression}</camunda:inputParameter>"


def _task(activity: str, topic: str, inputs: str = "", loop: str = "") -> str:
    mapping = f"<camunda:inputOutput>{inputs}</camunda:inputOutput>" if inputs else ""
    return (
        f'<serviceTask id="{activity}" camunda:type="external" camunda:topic="{topic}">'
        f"<extensionElements>{mapping}</extensionElements>{loop}</serviceTask>"
    )
