"""How long something takes or how old it is, for people."""

from bridge.texts import gettext

DAY, HOUR, MINUTE = 86_400, 3600, 60


def in_one_unit(seconds: float) -> str:
    """Return a duration such as `12 s` or `3 h`, in the largest unit that it is at least two of."""
    if seconds >= 2 * DAY:
        return gettext("{number:.0f} d").format(number=seconds / DAY)
    if seconds >= 2 * HOUR:
        return gettext("{number:.0f} h").format(number=seconds / HOUR)
    if seconds >= 2 * MINUTE:
        return gettext("{number:.0f} min").format(number=seconds / MINUTE)
    return gettext("{number:.0f} s").format(number=seconds) if seconds >= 1 else gettext("< 1 s")
