"""The texts of a failure, as every engine's database holds them."""

LONGEST_ERROR_MESSAGE = 666  # UTF-16 units; the engine cuts what is longer, also in the middle of a character


def shortened(message: str) -> str:
    """Return what the engine keeps of an error message, in whole characters."""
    units = storable(message).encode("utf-16-le", "replace")[: 2 * LONGEST_ERROR_MESSAGE]
    return units.decode("utf-16-le", "ignore")


def storable(text: str) -> str:
    """Return a text without NUL, which PostgreSQL refuses; it must not keep a failure from being told."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")
