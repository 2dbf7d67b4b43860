"""What the engine means: its answers as they were seen on engines 7.14 to 7.24 (design 2), and those of others."""

import json
from typing import Any

import pytest

from bridge.engine.verdict import Answer, Verdict, judge

ID = "0b8f9c4e-9d7a-11f0-8000-000000000001"


def error(kind: str, message: str | None, **code: Any) -> bytes:
    return json.dumps({"type": kind, "message": message, **code}).encode()


def test_204_is_the_only_success() -> None:
    assert judge(204, b"") == Answer(Verdict.ACCEPTED)


@pytest.mark.parametrize(
    ("status", "kind", "message", "code", "verdict"),
    [
        (404, "RestException", "External task with id nope does not exist", None, Verdict.GONE),
        (
            400,
            "RestException",
            f"External Task {ID} cannot be completed by worker 'w2'. It is locked by worker 'w1'.",
            None,
            Verdict.LOCKED,
        ),
        (400, "RestException", f"ENGINE-03043 ExternalTask with id '{ID}' is suspended.", None, Verdict.SUSPENDED),
        (400, "RestException", "Unsupported value type 'Foo'", None, Verdict.REJECTED),
        (
            400,
            "InvalidRequestException",
            "Cannot convert value 'a' of type 'Integer' to java type java.lang.Integer",
            None,
            Verdict.REJECTED,
        ),
        (500, "NullPointerException", None, None, Verdict.UNCLEAR),
        (
            500,
            "NullPointerException",
            'Cannot invoke "...restoreProcessInstance()" because "processInstance" is null',
            None,
            Verdict.UNCLEAR,
        ),
        (500, "RestException", "No process engine available", None, Verdict.AWAY),
        (413, "RestException", "Request Entity Too Large", None, Verdict.REJECTED),
        (500, "NullValueException", "workerId is null", 0, Verdict.REJECTED),
        (500, "ProcessEnginePersistenceException", "An exception occurred ...", 10_002, Verdict.REJECTED),
        (500, "OptimisticLockingException", "ENGINE-03005 Execution of ...", 1, Verdict.COLLISION),
        (500, "ProcessEnginePersistenceException", "deadlock detected", 10_000, Verdict.COLLISION),
        (500, "ProcessEngineException", "lockTime is not greater than 0", 0, Verdict.TROUBLE),
        (
            500,
            "InvalidRequestException",
            "At the moment the server has to handle too many requests at the same time. Please try again later.",
            None,
            Verdict.AWAY,
        ),
        (400, "RestException", "Cannot extend a lock that expired: ...", None, Verdict.EXPIRED),
        (404, "NotFoundException", "HTTP 404 Not Found", None, Verdict.UNKNOWN_CALL),
        (400, "InvalidRequestException", "No process engine available", None, Verdict.AWAY),
        (403, "AuthorizationException", "The user with id 'demo' does not have ...", None, Verdict.TROUBLE),
        (500, "ProcessEngineException", "Unknown property used in expression: ${x}", 0, Verdict.TROUBLE),
        (500, "RestException", "something else", 20_000, Verdict.TROUBLE),
    ],
)
def test_each_answer_of_the_engine_has_its_verdict(
    status: int, kind: str, message: str | None, code: int | None, verdict: Verdict
) -> None:
    answer = judge(status, error(kind, message, code=code))

    assert answer.verdict is verdict
    assert answer.detail.startswith(f"{status} {message or ''}")


@pytest.mark.parametrize(
    ("status", "kind", "message", "verdict"),
    [
        (404, "RestException", "External task with id nope does not exist", Verdict.GONE),
        (404, "NotFoundException", "HTTP 404 Not Found", Verdict.UNKNOWN_CALL),
        (400, "RestException", f"External Task {ID} cannot be ... It is locked by worker 'w1'.", Verdict.LOCKED),
        (400, "RestException", f"ENGINE-03043 ExternalTask with id '{ID}' is suspended.", Verdict.SUSPENDED),
        (500, "OptimisticLockingException", "ENGINE-03005 Execution of ...", Verdict.COLLISION),
        (500, "NullValueException", "workerId is null", Verdict.REJECTED),
    ],
)
def test_engine_7_14_says_the_same_without_a_code(status: int, kind: str, message: str, verdict: Verdict) -> None:
    assert judge(status, error(kind, message)).verdict is verdict


@pytest.mark.parametrize("owner", ["w1", "null", "universal worker/2", ""])
def test_a_locked_task_tells_its_owner(owner: str) -> None:
    message = f"External Task {ID} cannot be completed by worker 'w2'. It is locked by worker '{owner}'."

    answer = judge(400, error("RestException", message, code=None))

    assert (answer.verdict, answer.owner) == (Verdict.LOCKED, owner)


def test_the_detail_holds_status_and_the_engines_words() -> None:
    answer = judge(400, error("RestException", "Unsupported value type 'Foo'", code=None))

    assert answer == Answer(Verdict.REJECTED, "400 Unsupported value type 'Foo'")


def test_a_refused_login_has_an_empty_body() -> None:
    assert judge(401, b"") == Answer(Verdict.UNAUTHORIZED, "401 ")


@pytest.mark.parametrize(
    "status", [200, 201, 301, 302, 307, 400, 403, 404, 405, 408, 413, 429, 500, 501, 502, 503, 504, 520]
)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"5",
        b'"text"',
        b"{}",
        b'{"type":"RestException"}',
        b'{"message":"External task with id nope does not exist"}',
        b'["type","message"]',
        b"<html><body>External task with id nope does not exist</body></html>",
        b"Unexpected character ('<' (code 60)): expected a valid value",
        b"External Task x is locked by worker 'w1'",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"9" * 5000,
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_body_that_is_not_the_engines_means_no_engine_answers(status: int, body: bytes) -> None:
    assert judge(status, body).verdict is Verdict.AWAY


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_proxy_that_speaks_json_is_no_engine(status: int) -> None:
    assert judge(status, error("ServiceUnavailable", "no healthy upstream")).verdict is Verdict.AWAY


def test_a_404_of_another_kind_is_a_wrong_url() -> None:
    assert judge(404, error("RestException", "Process engine nope not found")).verdict is Verdict.AWAY


@pytest.mark.parametrize("odd", [[], {}, [1], "1", None, 1.5, False, {"a": [1]}])
@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_odd_json_in_an_error_is_borne(status: int, odd: object) -> None:
    bodies = [{"type": odd, "message": odd, "code": odd}, {"type": "RestException", "message": "x", "code": odd}]

    verdicts = {judge(status, json.dumps(body).encode()).verdict for body in bodies}

    assert verdicts == {{400: Verdict.REJECTED, 404: Verdict.AWAY}.get(status, Verdict.TROUBLE)}


def test_a_long_page_is_cut_in_the_detail() -> None:
    assert len(judge(502, b"<html>" + b"x" * 100_000).detail) < 250
