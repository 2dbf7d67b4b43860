"""What a reply must be to be of use: 200 with JSON of the kind that was asked for."""

from typing import Any

from bridge.contract import decode_json
from bridge.engine.http import Reply
from bridge.engine.verdict import judge
from bridge.errors import LoginRefused, Unavailable
from bridge.texts import Said


def usable(base_url: str, reply: Reply, wanted: Any) -> Any:
    """Return the JSON of a 200 reply; a login page with 200, a redirect or an error is no engine.

    Raises LoginRefused for a 401, Unavailable for anything else.
    """
    place = f"CAMUNDA_BASE_URL {base_url}"
    if reply.status == 401:
        wants = Said("{place} wants a login: check CAMUNDA_AUTH_USERNAME and CAMUNDA_AUTH_PASSWORD", place=place)
        raise LoginRefused(wants)
    if reply.leads_to:
        leads = Said(
            "{place} is redirected to {url}: set it to where the engine is", place=place, url=reply.leads_to
        )
        raise Unavailable(leads)
    if reply.status != 200:
        detail = judge(reply.status, reply.body).detail
        answers = Said("{place} answers {code}", place=place, code=detail)
        raise Unavailable(answers, wait_seconds=reply.wait_seconds)
    try:
        document = decode_json(reply.body)
    except (ValueError, RecursionError) as error:
        no_json = Said("no engine at {place}: 200 without JSON: {body!r}", place=place, body=reply.body[:80])
        raise Unavailable(no_json) from error
    if not isinstance(document, wanted):
        odd = Said("no engine at {place}: 200 with unexpected JSON: {body!r}", place=place, body=reply.body[:80])
        raise Unavailable(odd)
    return document
