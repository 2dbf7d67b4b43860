"""Errors of the engine's own (500) that may mean a variable which it cannot store: no later try changes that."""

import re

# Seen on Camunda 7.14 to 7.24. "The persistence layer" is whatever the database refuses: too long, a NUL, but also
# a database that is down; and an engine of 7.14 gives no code that would tell.
_REFUSALS = re.compile(
    r"cannot serialize value|cannot find serializer|cannot write serialized value|ENGINE-17007|"
    r"cannot be cast to class|cannot create file without|is not of File, InputStream or byte|"
    r"in the persistence layer|propagation of bpmn error",  # Operaton says no more than that
    re.IGNORECASE,
)


def says_value_refused(words: str) -> bool:
    """Whether these words of an engine may mean a variable of the answer, if there is a doubtful one."""
    return _REFUSALS.search(words) is not None
