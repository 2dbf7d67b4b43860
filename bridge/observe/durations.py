"""How long something takes or how old it is, for people."""

UNITS = (("d", 86_400), ("h", 3600), ("min", 60))


def in_one_unit(seconds: float) -> str:
    """Return a duration such as `12 s` or `3 h`, in the largest unit that it is at least two of."""
    for unit, length in UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "< 1 s"
