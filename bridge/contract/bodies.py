"""The body of an answer: unpacked where it says that it is packed, and why it cannot be read."""

import codecs
import json
import re
import zlib
from dataclasses import dataclass

from bridge.errors import Unprocessable

GZIP_BEGINS = b"\x1f\x8b"
GZIP, ZLIB, RAW_DEFLATE = 31, 15, -15  # zlib's names for the wrappings of a stream
PACKED_AS = {"gzip": (GZIP,), "x-gzip": (GZIP,), "deflate": (ZLIB, RAW_DEFLATE)}
CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)
UTF_8 = ("utf-8", "utf8", "utf_8")
UTF_32_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
CYRILLIC = re.compile(r"[А-яЁё]")


@dataclass(frozen=True, slots=True)
class BodyForm:
    """What the properties of a message say of its body; they are believed only where the body bears them out."""

    content_encoding: str | None = None
    content_type: str | None = None

    def unpacked(self, body: bytes, max_bytes: int) -> bytes:
        """Return the body unpacked, without a byte order mark.

        Raises Unprocessable: `too_large` for one that would have more bytes, which is not unpacked any further;
        `invalid` for one that is cut off, damaged or followed by something else.
        """
        wrappings = PACKED_AS.get(self._encoding)
        if wrappings is None or body.startswith(
            (b"{", codecs.BOM_UTF8)
        ):  # it is plain, whatever it says of itself
            return body.removeprefix(codecs.BOM_UTF8)
        content = _inflated(body, wrappings, max_bytes, self._encoding)
        if len(content) > max_bytes:
            raise Unprocessable(
                "too_large", f"more than {max_bytes} bytes once it is unpacked, which is the limit"
            )
        return content.removeprefix(codecs.BOM_UTF8)

    def beginning(self, body: bytes, most: int) -> bytes:
        """Return up to that many bytes of the body unpacked, or as it came where it cannot be."""
        wrappings = PACKED_AS.get(self._encoding, ())
        begun = (_begun(body, wrapping, most) for wrapping in wrappings if not body.startswith(b"{"))
        return next((content for content, _, _ in filter(None, begun)), body)

    def problem(self, body: bytes) -> str:
        """Return why an unpacked body cannot be read where its encoding is the reason, else nothing."""
        if body.startswith(GZIP_BEGINS):
            return "it is gzip, and the property content_encoding does not say so"
        if (found := _wide_encoding(body)) is not None:
            return f"it is {found}; answers are UTF-8"
        try:
            body.decode()
        except UnicodeDecodeError as error:
            byte = f"byte 0x{body[error.start]:02x} at position {error.start}"
            return f"not UTF-8: {byte}; {self._declared or _guessed(body)}; answers are UTF-8"
        return ""

    @property
    def _encoding(self) -> str:
        return (self.content_encoding or "").strip().casefold()

    @property
    def _declared(self) -> str:
        """What the message says of its encoding, where that is not UTF-8 or a way of packing."""
        if charset := CHARSET.search(self.content_type or ""):
            return f"content_type says {charset[1][:40]}" if charset[1].casefold() not in UTF_8 else ""
        is_other = self._encoding and self._encoding not in (*UTF_8, *PACKED_AS, "identity", "binary")
        return f"content_encoding says {self._encoding[:40]!r}" if is_other else ""


PLAIN = BodyForm()


def _inflated(body: bytes, wrappings: tuple[int, ...], max_bytes: int, encoding: str) -> bytes:
    """Return the content of one whole stream, of a longer one `max_bytes` and one more."""
    for wrapping in wrappings:
        begun = _begun(body, wrapping, max_bytes + 1)
        if begun is None:
            continue
        content, is_whole, rest = begun
        if len(content) > max_bytes:
            return content
        if not is_whole:
            raise Unprocessable("invalid", f"content_encoding is {encoding}, and the body is cut off")
        if rest:
            raise Unprocessable("invalid", f"content_encoding is {encoding}, and {rest} bytes follow its end")
        return content
    raise Unprocessable(
        "invalid", f"content_encoding is {encoding}, and the body is not: no such stream, or damaged"
    )


def _begun(body: bytes, wrapping: int, most: int) -> tuple[bytes, bool, int] | None:
    """Return what a stream begins with, whether that is all, and how much follows it; None where it is none."""
    stream = zlib.decompressobj(wrapping)
    try:
        content = stream.decompress(body, most)
    except zlib.error:
        return None
    return content, stream.eof, len(stream.unused_data)


def _wide_encoding(body: bytes) -> str | None:
    """Return which of UTF-16 and UTF-32 a body is in, by its mark or by the zeros in its first characters."""
    if body.startswith(UTF_32_MARKS):
        return "UTF-32"
    found = json.detect_encoding(body)
    return None if found.startswith("utf-8") else str(found).upper()


def _guessed(body: bytes) -> str:
    """Return a hint at the encoding of text that is mostly Cyrillic in windows-1251."""
    text = body.decode("cp1251", "replace")
    foreign = [letter for letter in text if not letter.isascii()]
    is_likely = sum(map(bool, map(CYRILLIC.match, foreign))) > 0.8 * len(foreign)
    return "windows-1251 (cp1251)?" if is_likely else "another encoding"
