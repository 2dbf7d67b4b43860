"""Bodies of answers: packed, marked, in other encodings, damaged."""

import gzip
import json
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.contract import BodyForm, NamedTask, Response, named_task
from bridge.errors import Unprocessable

MAX_BYTES = 1_048_576
examples = settings(derandomize=True, max_examples=100, deadline=None, database=None)


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)  # the same in every run


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzipped,
    "x-gzip": gzipped,
    "deflate": zlib.compress,
}
ANSWER = {"task_id": "t", "response_type": "complete", "variables": {"имя": "Анна"}}
BODY = json.dumps(ANSWER, ensure_ascii=False).encode()


def refusal(body: bytes, **form: str | None) -> Unprocessable:
    with pytest.raises(Unprocessable) as caught:
        Response.decode(body, None, MAX_BYTES, BodyForm(**form))
    return caught.value


def read(body: bytes, **form: str | None) -> dict[str, Any]:
    response = Response.decode(body, None, MAX_BYTES, BodyForm(**form))
    return response.model_dump(include=set(ANSWER))


def test_one_byte_order_mark_is_skipped_and_not_two() -> None:
    assert read(b"\xef\xbb\xbf" + BODY) == ANSWER
    assert refusal(b"\xef\xbb\xbf" * 2 + BODY).reason == "invalid"


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", " x-gzip ", "deflate"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_packed_body_is_unpacked(encoding: str, mark: bytes) -> None:
    assert read(PACKERS[encoding.strip().lower()](mark + BODY), content_encoding=encoding) == ANSWER


def test_deflate_may_come_without_the_wrapping_of_zlib() -> None:
    assert read(raw_deflate(BODY), content_encoding="deflate") == ANSWER


@pytest.mark.parametrize(
    "encoding", [None, "", "utf-8", "identity", "binary", "gzip", "deflate", "cp1251", "json"]
)
def test_a_plain_body_is_read_whatever_its_property_says(encoding: str | None) -> None:
    assert read(BODY, content_encoding=encoding, content_type="application/json; charset=windows-1251") == ANSWER


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_refused_without_being_unpacked_whole(encoding: str) -> None:
    bomb = PACKERS[encoding](BODY + b" " * 100_000_000)
    assert len(bomb) < MAX_BYTES
    began = time.process_time()

    error = refusal(bomb, content_encoding=encoding)

    assert (error.reason, "1048576" in error.detail) == ("too_large", True)
    assert time.process_time() - began < 0.2


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_the_limit_counts_unpacked_bytes(encoding: str) -> None:
    plain = BODY + b" " * 1000
    body, form = PACKERS[encoding](plain), BodyForm(encoding)

    assert Response.decode(body, None, len(plain), form).task_id == "t"
    with pytest.raises(Unprocessable, match="too_large"):
        Response.decode(body, None, len(plain) - 1, form)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda body: body[:-1], "cut off"),
        (lambda body: body[: len(body) // 2], "cut off"),
        (lambda body: body + b"rubbish", "7 bytes follow its end"),
        (lambda body: body + body, "bytes follow its end"),
        (lambda body: body[:12] + b"\xff\xff\xff\xff" + body[16:], "damaged"),
        (lambda _: b"\xff\xff no such thing", "damaged"),
        (lambda _: b"", "cut off"),
    ],
)
def test_a_damaged_stream_is_invalid_and_says_what_is_wrong(encoding: str, damage: Any, words: str) -> None:
    error = refusal(damage(PACKERS[encoding](BODY)), content_encoding=encoding)

    assert error.reason == "invalid"
    assert encoding in error.detail
    assert words in error.detail


@examples
@given(st.sampled_from(["gzip", "deflate", "x-gzip"]), st.binary(max_size=60), st.integers(0, 200), st.booleans())
def test_no_damage_is_more_than_unprocessable(encoding: str, rubbish: bytes, at: int, is_kept: bool) -> None:
    packed = PACKERS[encoding](BODY)
    damaged = packed[:at] + rubbish + (packed[at:] if is_kept else b"")

    try:
        found = read(damaged, content_encoding=encoding)
    except Unprocessable as error:
        found = {"reason": error.reason}

    assert found in (ANSWER, {"reason": "invalid"})


@pytest.mark.parametrize(
    ("body", "form", "words"),
    [
        (BODY.decode().encode("utf-16"), {}, "UTF-16"),
        (BODY.decode().encode("utf-16-le"), {}, "UTF-16-LE"),
        (BODY.decode().encode("utf-16-be"), {}, "UTF-16-BE"),
        (BODY.decode().encode("utf-32"), {}, "UTF-32"),
        (BODY.decode().encode("utf-32-be"), {}, "UTF-32-BE"),
        (BODY.decode().encode("cp1251"), {}, "windows-1251 (cp1251)?"),
        (BODY.decode().encode("cp1251"), {"content_encoding": "cp1251"}, "content_encoding says 'cp1251'"),
        (
            BODY.decode().encode("koi8-r"),
            {"content_type": "application/json; charset=KOI8-R"},
            "content_type says KOI8-R",
        ),
        (b'{"task_id":"t","response_type":"complete","variables":{"x":"\x93ok\x94"}}', {}, "another encoding"),
        (gzipped(BODY), {}, "it is gzip, and the property content_encoding does not say so"),
        (b"\x28\xb5\x2f\xfd\x20", {"content_encoding": "zstd"}, "content_encoding says 'zstd'"),
    ],
)
def test_another_encoding_is_refused_by_its_name(body: bytes, form: dict[str, str], words: str) -> None:
    error = refusal(body, **form)

    assert error.reason == "invalid"
    assert words in error.detail


def test_what_is_not_utf_8_is_refused_with_its_first_byte_and_place() -> None:
    body = BODY.decode().encode("cp1251")

    assert f"byte 0xe8 at position {body.index(0xE8)}" in refusal(body).detail


@pytest.mark.parametrize("pack", [*PACKERS.items(), ("deflate", raw_deflate)])
def test_a_packed_answer_still_names_its_task(pack: Any) -> None:
    encoding, packed = pack[0], pack[1](BODY)

    for body in (packed, packed + b"rubbish"):
        named = named_task(body, None, BodyForm(encoding))
        assert named is not None
        assert (named.task_id, named.response_type) == ("t", "complete")


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf\xef\xbb\xbf" + BODY,
        b"/* done */ " + BODY,
        b"json=" + BODY,
        str(ANSWER).encode(),
        str(BODY).encode(),
        json.dumps(BODY.decode()).encode(),
        json.dumps(json.dumps(BODY.decode())).encode(),
        b"[" + BODY + b"]",
    ],
)
def test_a_body_that_is_no_json_object_names_its_task_where_a_person_can_read_it(body: bytes) -> None:
    assert refusal(body).reason == "invalid"
    assert named_task(body, None) == NamedTask("t", None, "complete")


def test_a_body_of_another_encoding_names_its_task_by_the_correlation_id() -> None:
    for body in (b"\xff\xff", BODY.decode().encode("utf-16"), gzipped(BODY)[:30]):
        named = named_task(body, "t", BodyForm("gzip"))
        assert named is not None
        assert named.task_id == "t"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (rb'{"task_id":"t","response_type":"complete","variables":{"ok":1,"x":"\ud800"}}', "variable 'x'"),
        (
            rb'{"task_id":"t","response_type":"complete","local_variables":{"x":{"value":["\ud800"]}}}',
            "variable 'x'",
        ),
        (rb'{"task_id":"t","response_type":"failure","error_message":"\udc00!"}', "'error_message'"),
    ],
)
def test_half_a_character_is_refused_by_the_name_of_its_place(body: bytes, place: str) -> None:
    assert refusal(body).detail == f"{place}: half a character (a lone surrogate), which no UTF-8 text holds"
