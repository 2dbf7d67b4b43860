"""Where in a TOML text its tables, keys and elements stand: tomllib returns their values alone."""

import re
import tomllib

Place = tuple[str | int, ...]  # the keys and indexes that lead to an entry: ("systems", "sap", "topics", 0)

TOKEN = re.compile(
    r"""
      \#[^\n]*                              # a comment
    | "{3} (?: \\. | [^\\] )*? "{3,5}       # a string of many lines; it may end with two quotes of its own
    | '{3} .*? '{3,5}
    | " (?: \\. | [^"\\] )* "
    | ' [^']* '
    | [^\s\#"'=,.\[\]{}]+                   # a bare key, or a piece of a number or a date
    | [=,.\[\]{}\n]
    """,
    re.VERBOSE | re.DOTALL,
)
END = ""


def lines_of(text: str) -> dict[Place, int]:
    """Return the line where each table, key and element of an array begins; the document itself is at line 1.

    The text must be one that tomllib accepts. The tables of an array of tables count as one.
    """
    return _Scanner(text).lines


class _Scanner:
    """One pass over the tokens of a text that is known to be good TOML."""

    def __init__(self, text: str) -> None:
        found = [(match[0], match.start()) for match in TOKEN.finditer(text) if not match[0].startswith("#")]
        self._words = [*(token for token, _ in found), END]
        self._lines = [text.count("\n", 0, start) + 1 for _, start in found]
        self._at = 0
        self.lines: dict[Place, int] = {(): 1}
        self._document()

    @property
    def _word(self) -> str:
        return self._words[self._at]

    def _skip(self, *tokens: str) -> None:
        while self._word in tokens:
            self._at += 1

    def _document(self) -> None:
        table: Place = ()
        self._skip("\n")
        while self._word != END:
            if self._word == "[":
                self._skip("[")
                table = self._key(())
                self._skip("]")
            else:
                self._entry(table)
            self._skip("\n")

    def _entry(self, table: Place) -> None:
        place = self._key(table)
        self._skip("=")
        self._value(place)

    def _key(self, table: Place) -> Place:
        place = self._name(table)
        while self._word == ".":
            self._skip(".")
            place = self._name(place)
        return place

    def _name(self, table: Place) -> Place:
        [name] = tomllib.loads(f"{self._word} = 0")
        self._mark((*table, name))
        self._at += 1
        return (*table, name)

    def _mark(self, place: Place) -> None:
        self.lines.setdefault(place, self._lines[self._at])

    def _value(self, place: Place) -> None:
        if self._word == "[":
            self._array(place)
        elif self._word == "{":
            self._inline_table(place)
        else:
            while self._word not in (",", "]", "}", "\n", END):
                self._at += 1

    def _array(self, place: Place) -> None:
        self._at += 1
        self._skip("\n")
        index = 0
        while self._word != "]":
            self._mark((*place, index))
            self._value((*place, index))
            self._skip("\n", ",")
            index += 1
        self._at += 1

    def _inline_table(self, place: Place) -> None:
        self._at += 1
        self._skip("\n")
        while self._word != "}":
            self._entry(place)
            self._skip("\n", ",")
        self._at += 1
