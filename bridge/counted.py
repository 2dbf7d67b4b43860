"""Numbers with their nouns."""


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: `1 task`, `2 tasks`; `many` where that does not end in a plain s."""
    return f"{number} {one if number == 1 else many or one + 's'}"
