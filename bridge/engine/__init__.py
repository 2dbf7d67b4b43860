"""The engine's REST API: the only HTTP door to the engine."""

from bridge.engine.back_offs import BackOffs
from bridge.engine.client import CamundaClient
from bridge.engine.error_texts import shortened
from bridge.engine.http import Http, Reply
from bridge.engine.json_support import says_no_json
from bridge.engine.login import Login
from bridge.engine.rest import Rest
from bridge.engine.rows import readable
from bridge.engine.tokens import Cached, Client, ClientCredentials
from bridge.engine.transport import Transport
from bridge.engine.value_refusals import says_value_refused
from bridge.engine.variables import StoredVariable, StoredVariables
from bridge.engine.verdict import FOR_NOW, Answer, Verdict

__all__ = [
    "FOR_NOW",
    "Answer",
    "BackOffs",
    "Cached",
    "CamundaClient",
    "Client",
    "ClientCredentials",
    "Http",
    "Login",
    "Reply",
    "Rest",
    "StoredVariable",
    "StoredVariables",
    "Transport",
    "Verdict",
    "readable",
    "says_no_json",
    "says_value_refused",
    "shortened",
]
