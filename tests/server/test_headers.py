"""The HTTP fields that are read and written, each by its specification."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backpressure.token_bucket import Quota
from app.server.headers import (
    MAX_LIST_ELEMENTS,
    ConcurrencyPolicy,
    Prefer,
    RangeNotSatisfiable,
    accepts_gzip,
    bearer_token,
    matches_strongly,
    matches_weakly,
    media_type,
    parse_prefer,
    parse_range,
    ratelimit_fields,
    split_list,
    timestamp,
)
from tests.examples import examples

# --- RateLimit ------------------------------------------------------------------------------------------


def test_the_client_s_own_policy_is_told() -> None:
    """The wire contract's example: bucket, window, what is left, and whole seconds to the next token."""
    assert ratelimit_fields(Quota(10, 5, 0, 440)) == [
        ("RateLimit-Policy", '"ip";q=10;w=5'),
        ("RateLimit", '"ip";r=0;t=1'),
    ]


@pytest.mark.parametrize(("milliseconds", "seconds"), [(0, 0), (1, 1), (1000, 1), (1001, 2)])
def test_the_time_to_the_next_token_is_rounded_up(milliseconds: int, seconds: int) -> None:
    """A client that waits `t` seconds finds its token."""
    assert dict(ratelimit_fields(Quota(10, 5, 3, milliseconds)))["RateLimit"] == f'"ip";r=3;t={seconds}'


def test_a_bound_on_things_at_once_is_told_beside_it() -> None:
    """The policy that refused stands second, with its unit and nothing left."""
    assert ratelimit_fields(Quota(10, 5, 7, 440), ConcurrencyPolicy("queue", 100, 3)) == [
        ("RateLimit-Policy", '"ip";q=10;w=5, "queue";q=100;qu="concurrent-requests"'),
        ("RateLimit", '"ip";r=7;t=1, "queue";r=0;t=3'),
    ]


# --- Prefer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "prefer"),
    [
        ([], Prefer()),
        (["wait=10"], Prefer(wait=10)),
        (["WAIT = 10"], Prefer(wait=10)),
        (['wait="10"'], Prefer(wait=10)),
        (["wait=10; foo=bar"], Prefer(wait=10)),
        (["respond-async, wait=10"], Prefer(wait=10)),
        (["wait=10, wait=20"], Prefer(wait=10)),
        (["respond-async", "wait=10", "handling=lenient"], Prefer(wait=10, handling="lenient")),
        (["handling=STRICT, wait=0"], Prefer(wait=0, handling="strict")),
        (["wait=-1"], Prefer()),
        (["wait=1.5"], Prefer()),
        (["wait=1e3"], Prefer()),
        (["wait=inf"], Prefer()),
        (["wait"], Prefer()),
        (["wait=\u0663"], Prefer()),
        (["wait=" + "9" * 400], Prefer()),
        (["handling=rude"], Prefer()),
        ([",,;=,"], Prefer()),
        (['foo="a, wait=5"'], Prefer()),
        (['foo="a, wait=5", wait=6'], Prefer(wait=6)),
        (['foo="a;wait=5\\", wait=5"; x, handling=lenient'], Prefer(handling="lenient")),
        (['foo;a="b, wait=5"'], Prefer()),
        (['foo="a, wait=5', "wait=6"], Prefer(wait=6)),
        (['wait="1\\0"'], Prefer(wait=10)),
        (['wait="10'], Prefer()),
        (["a b, wait=5"], Prefer(wait=5)),
    ],
)
def test_preferences_are_read(values: list[str], prefer: Prefer) -> None:
    """The first of each preference counts, over all fields; what is not understood is no error."""
    assert parse_prefer(values) == prefer


# --- Range ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "span"),
    [
        ("bytes=0-0", (0, 0)),
        ("bytes=0-99", (0, 99)),
        ("bytes=10-", (10, 99)),
        ("bytes=99-", (99, 99)),
        ("bytes=90-1000", (90, 99)),
        ("bytes=-1", (99, 99)),
        ("bytes=-100", (0, 99)),
        ("bytes=-1000", (0, 99)),
        ("BYTES=5-6", (5, 6)),
        (" bytes=5-6 ", (5, 6)),
    ],
)
def test_a_range_is_cut_to_what_is_there(value: str, span: tuple[int, int]) -> None:
    """First and last byte, open ends and suffixes, of a representation of a hundred bytes."""
    assert parse_range(value, 100) == span


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "0-5",
        "bytes",
        "bytes=",
        "bytes=-",
        "items=0-5",
        "bytes=0-5,7-9",
        "bytes=9-5",
        "bytes=a-b",
        "bytes=1--2",
        "bytes=+1-2",
        "bytes=0x1-2",
        "bytes=\u0661-\u0662",
        "bytes=" + "1" * 50 + "-",
        "bytes=" + " " * 30_000 + "x",
    ],
)
def test_other_ranges_are_ignored(value: str | None) -> None:
    """Unknown units, several ranges and nonsense get the whole representation, as if never asked."""
    assert parse_range(value, 100) is None


@pytest.mark.parametrize(
    ("value", "size"), [("bytes=100-", 100), ("bytes=100-200", 100), ("bytes=-0", 100), ("bytes=0-", 0)]
)
def test_a_range_past_the_end_cannot_be_met(value: str, size: int) -> None:
    """Where no byte lies in the range the refusal tells the size."""
    with pytest.raises(RangeNotSatisfiable) as refusal:
        parse_range(value, size)
    assert refusal.value.size == size


@examples
@given(st.integers(1, 50), st.none() | st.integers(0, 60), st.none() | st.integers(0, 60))
def test_a_range_is_what_the_standard_says(size: int, first: int | None, last: int | None) -> None:
    """Against RFC 9110 word by word: the positions of a list that the range names."""
    value = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    everything = list(range(size))
    if first is None and last is None:
        expected: list[int] | None = None
    elif first is None:
        expected = everything[-last:] if last else []
    elif last is not None and last < first:
        expected = None
    else:
        expected = everything[first:] if last is None else everything[first : last + 1]
    if expected == []:
        with pytest.raises(RangeNotSatisfiable):
            parse_range(value, size)
    elif expected is None:
        assert parse_range(value, size) is None
    else:
        assert parse_range(value, size) == (expected[0], expected[-1])


# --- entity tags, tokens, types -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "weakly", "strongly"),
    [
        (['"abc"'], True, True),
        (['W/"abc"'], True, False),
        (['"x", "abc"'], True, True),
        (['"x"', '"abc"'], True, True),
        (['"x",W/"abc" , "y"'], True, False),
        (["*"], True, True),
        (['"abcd"'], False, False),
        (['"x,"abc""'], False, False),
        (["abc"], False, False),
        (['"ABC"'], False, False),
        ([""], False, False),
        ([], False, False),
    ],
    ids=str,
)
def test_an_entity_tag_is_found(lines: list[str], weakly: bool, strongly: bool) -> None:
    """If-None-Match and If-Match list several tags, on several lines, weak ones among them, or any by `*`."""
    assert matches_weakly(lines, '"abc"') is weakly
    assert matches_weakly(lines, '"other"', '"abc"') is weakly
    assert matches_strongly(lines, '"abc"') is strongly


@pytest.mark.parametrize(
    ("lines", "accepted"),
    [
        (["gzip"], True),
        (["br, GZip;q=0.5"], True),
        (["x-gzip"], True),
        (["*"], True),
        (["br", "gzip ; q=0.001"], True),
        (["gzip;q=0"], False),
        (["gzip; Q=0.000"], False),
        (["gzip;q=0, *"], False),
        (["*;q=0"], False),
        (["gzip;q=x"], False),
        (["identity, br"], False),
        (["gzipped"], False),
        ([""], False),
        ([], False),
    ],
    ids=str,
)
def test_gzip_is_for_clients_that_accept_it(lines: list[str], accepted: bool) -> None:
    """By its weight, or that of all others."""
    assert accepts_gzip(lines) is accepted


# --- lists ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "elements"),
    [
        ([], []),
        (["a, b ,c"], ["a", "b", "c"]),
        (["a", "b"], ["a", "b"]),
        ([",a,, ,b,"], ["a", "b"]),
        (['a="x, y", b'], ['a="x, y"', "b"]),
        (['a="x\\", y", b'], ['a="x\\", y"', "b"]),
        (['a="x, y', "b"], ['a="x, y', "b"]),
        (['"', '"'], ['"', '"']),
    ],
)
def test_a_list_is_split_at_its_commas(lines: list[str], elements: list[str]) -> None:
    """Not at those in quotes; and a string that does not end takes nothing of the next line."""
    assert split_list(lines) == elements


@pytest.mark.parametrize("element", ["a", '"a"', ""], ids=["bare", "quoted", "empty"])
def test_of_a_list_a_bounded_number_is_read(element: str) -> None:
    """Over all lines; empty ones count too."""
    lines = [",".join([element] * 40) + ","] * 3
    assert len(split_list(lines)) <= MAX_LIST_ELEMENTS
    assert len(split_list([*lines, "last"])) <= MAX_LIST_ELEMENTS


@pytest.mark.parametrize("piece", [" ", ",", '"', "a", "\\", 'a="', ';"', "=", "q=0;", '","', "a ", "\t,"])
def test_no_field_holds_the_loop(piece: str) -> None:
    """Whatever fills a head, reading it costs little more than looking at each byte."""
    field = piece * (30_000 // len(piece))
    for value in (field, f"a{field}", f"bytes={field}x", f"gzip;{field}x", f'"{field}'):
        began = time.process_time()
        parse_prefer([value])
        matches_weakly([value], '"a"')
        accepts_gzip([value])
        parse_range(value, 100)
        assert time.process_time() - began < 0.1


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic abc", None),
        ("abc", None),
        ("", None),
        (None, None),
    ],
)
def test_a_bearer_token_is_read(value: str | None, token: str | None) -> None:
    """The scheme's name is in any case; other schemes, and none, bear no token."""
    assert bearer_token(value) == token


@pytest.mark.parametrize(
    ("value", "kind"),
    [("Image/JPEG", "image/jpeg"), ('multipart/form-data; boundary="x"', "multipart/form-data"), (None, "")],
)
def test_a_media_type_is_read_without_its_parameters(value: str | None, kind: str) -> None:
    """Type and subtype, in lower case."""
    assert media_type(value) == kind


def test_a_timestamp_is_rfc_3339_in_utc() -> None:
    """Milliseconds always, and a Z."""
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"
