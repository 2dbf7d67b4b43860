"""What a reply must be to be of use: 200 with JSON of the kind that was asked for."""

from typing import Any

from bridge.contract import decode_json
from bridge.engine.http import Reply
from bridge.engine.verdict import judge
from bridge.errors import LoginRefused, Unavailable


def usable(base_url: str, reply: Reply, wanted: Any) -> Any:
    """Return the JSON of a 200 reply; a login page with 200, a redirect or an error is no engine.

    Raises LoginRefused for a 401, Unavailable for anything else.
    """
    place = f"CAMUNDA_BASE_URL {base_url}"
    if reply.status == 401:
        raise LoginRefused(f"{place} wants a login: check CAMUNDA_AUTH_USERNAME and CAMUNDA_AUTH_PASSWORD")
    if reply.leads_to:
        raise Unavailable(f"{place} is redirected to {reply.leads_to}: set it to where the engine is")
    if reply.status != 200:
        detail = judge(reply.status, reply.body).detail
        raise Unavailable(f"{place} answers {detail}", wait_seconds=reply.wait_seconds)
    try:
        document = decode_json(reply.body)
    except (ValueError, RecursionError) as error:
        raise Unavailable(f"no engine at {place}: 200 without JSON: {reply.body[:80]!r}") from error
    if not isinstance(document, wanted):
        raise Unavailable(f"no engine at {place}: 200 with unexpected JSON: {reply.body[:80]!r}")
    return document
