"""What a key of a row is called above its column, or beside its value, for people."""

from bridge.texts import Said, translated

HEADINGS = {
    "task": Said("task"),
    "task_id": Said("task id"),
    "topic": Said("topic"),
    "process": Said("process"),
    "instance": Said("instance"),
    "instances": Said("instances"),
    "version": Said("version"),
    "tenant": Said("tenant"),
    "incidents": Said("incidents"),
    "failed_jobs": Said("failed jobs"),
    "suspended": Said("suspended"),
    "open": Said("open"),
    "locked": Said("locked"),
    "waiting": Said("waiting"),
    "failed": Said("failed"),
    "business_key": Said("business key"),
    "started": Said("started"),
    "since": Said("since"),
    "type": Said("type"),
    "activity": Said("activity"),
    "message": Said("message"),
    "state": Said("state"),
    "lock_ends": Said("lock ends"),
    "retries": Said("retries"),
    "error": Said("error"),
    "held_by": Said("held by"),
    "for_example": Said("for example"),
    "queue": Said("queue"),
    "ready": Said("ready"),
    "unacked": Said("unacked"),
    "consumers": Said("consumers"),
    "waits": Said("waits"),
    "system": Said("system"),
    "why": Said("why"),
    "only": Said("only"),
    "detail": Said("detail"),
    "attempts": Said("attempts"),
    "app_id": Said("app id"),
    "user_id": Said("user id"),
    "correlation_id": Said("correlation id"),
    "bytes": Said("bytes"),
    "body": Said("body"),
    "tried": Said("tried"),
    "saw": Said("saw"),
    "do": Said("do"),
}


def heading(name: str) -> str:
    """Return what a key is called in the language that is spoken here."""
    return translated(HEADINGS.get(name, name))
