"""What an older engine lacks is done without, and told once."""

from bridge.engine import CamundaClient, Reply, Verdict
from tests.unit.fakes import FakeEngine

NO_SUCH_CALL = Reply(404, b'{"type": "NotFoundException", "message": "HTTP 404 Not Found"}')


def test_a_lock_that_cannot_be_taken_again_is_told_once(logged: list[str]) -> None:
    engine = FakeEngine()
    engine.replies["lock"] = [NO_SUCH_CALL] * 3
    client = CamundaClient(engine, "w")

    verdicts = {client.lock(f"t{number}", "w", 60_000).verdict for number in range(3)}

    assert verdicts == {Verdict.UNKNOWN_CALL}
    assert len([line for line in logged if "older than 7.15" in line]) == 1
