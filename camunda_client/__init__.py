"""The engine's REST API: the only HTTP door to the engine."""

from camunda_client.back_offs import BackOffs
from camunda_client.client import LONGEST_ERROR_MESSAGE, CamundaClient
from camunda_client.http import Http, Reply
from camunda_client.inspection import Inspection
from camunda_client.json_support import says_no_json
from camunda_client.login import Login
from camunda_client.operations import OpenTask, Operations
from camunda_client.rest import Rest
from camunda_client.rows import readable
from camunda_client.verdict import FOR_NOW, Answer, Verdict

__all__ = [
    "FOR_NOW",
    "LONGEST_ERROR_MESSAGE",
    "Answer",
    "BackOffs",
    "CamundaClient",
    "Http",
    "Inspection",
    "Login",
    "OpenTask",
    "Operations",
    "Reply",
    "Rest",
    "Verdict",
    "readable",
    "says_no_json",
]
