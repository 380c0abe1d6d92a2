"""The reader of forms: the parts that it finds, whatever the cut, and the bounds of its work."""

import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_multipart.multipart import MultipartParser, parse_options_header

from app.uploads.multipart import (
    MAX_PART_FIELDS,
    MAX_PART_HEADER,
    MAX_PARTS,
    MULTIPART_ALLOWANCE,
    Form,
    MalformedForm,
    form_in,
    parse_parameters,
)
from tests.examples import examples

BOUNDARY = b"XyZ"
FILE = b'Content-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'


def read(pieces: list[bytes], boundary: bytes = BOUNDARY) -> tuple[list[tuple[bytes, bool, bytes]], Form]:
    """Name, kind and content of every part that has content, and the form."""
    form = Form(boundary)
    found: dict[object, bytes] = {}
    for piece in pieces:
        for part, content in form.feed(piece):
            found[part] = found.get(part, b"") + content
    return [(part.name, part.is_file, content) for part, content in found.items() if content], form  # type: ignore[attr-defined]


def cuts(body: bytes, length: int) -> list[bytes]:
    """The body in pieces of this length."""
    return [body[at : at + length] for at in range(0, len(body), length)]


def in_form(*parts: bytes, line: bytes = b"\r\n") -> bytes:
    """A whole form of parts, each with its header."""
    return b"".join(b"--XyZ" + line + part + line for part in parts) + b"--XyZ--" + line


def oracle(body: bytes) -> list[tuple[bytes, bool, bytes]]:
    """What python-multipart finds in a form."""
    found: list[list[bytes]] = []
    name = bytearray()
    value = bytearray()

    def header_end() -> None:
        if name.lower() == b"content-disposition":
            found[-1][0] = bytes(value)
        name.clear()
        value.clear()

    def part_data(data: bytes, start: int, end: int) -> None:
        found[-1][1] += data[start:end]

    callbacks = {
        "on_part_begin": lambda: found.append([b"", b""]),
        "on_header_field": lambda data, start, end: name.extend(data[start:end]),
        "on_header_value": lambda data, start, end: value.extend(data[start:end]),
        "on_header_end": header_end,
        "on_part_data": part_data,
    }
    parser = MultipartParser(BOUNDARY, callbacks)  # type: ignore[arg-type]
    parser.write(body)
    parser.finalize()
    parts = []
    for disposition, content in found:
        _, options = parse_options_header(disposition)
        if content:
            parts.append((options.get(b"name", b""), b"filename" in options, content))
    return parts


_NEAR = [
    b"\r",
    b"\n",
    b"\r\n",
    b"-",
    b"--",
    b"\r\n--",
    b"\r\n--Xy",
    b"--XyZ",
    b"\n--XyZ",
    b"\r\n--XyZz",
    b"\0",
]
contents = st.lists(st.sampled_from(_NEAR) | st.binary(max_size=9), max_size=20).map(b"".join)
names = st.text("abcdefghij klmnop.;=[]", min_size=1, max_size=8).map(str.encode)
whole_parts = st.builds(
    lambda name, is_file, more, content: (
        b'Content-Disposition: form-data; name="%s"%s\r\n' % (name, b'; filename="a"' if is_file else b"")
        + b"".join(b"X-%d: y\r\n" % number for number in range(more))
        + b"\r\n"
        + content
    ),
    names,
    st.booleans(),
    st.integers(0, 3),
    contents,
)


def _is_plain(part: bytes) -> bool:
    """Whether the content of a part holds nothing that is a delimiter to either reader."""
    text = part + b"\r\n--XyZ"
    return not any(text[:-7].endswith(end) for end in (b"\r",)) and not any(
        mark in part for mark in (b"\r\n--XyZ--", b"\r\n--XyZ\r\n", b"\r\n--XyZ ", b"\r\n--XyZ\t")
    )


@examples
@given(
    parts=st.lists(whole_parts.filter(_is_plain), min_size=1, max_size=4),
    places=st.lists(st.integers(0, 2**12), max_size=30),
)
def test_it_finds_what_python_multipart_finds(parts: list[bytes], places: list[int]) -> None:
    """The same parts with the same bytes, wherever the body is cut."""
    body = in_form(*parts)
    marks = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    found, form = read([body[start:end] for start, end in pairwise(marks)])
    assert form.ended
    assert found == oracle(body)
    assert form.overhead + sum(len(content) for _, is_file, content in found if is_file) == len(body)


@examples
@given(body=st.lists(st.sampled_from([*_NEAR, b"--XyZ\r\n", b"\r\n\r\n", FILE]), max_size=30).map(b"".join))
def test_any_bytes_give_the_same_whatever_the_cut(body: bytes) -> None:
    """Well-formed or not: the same parts, or a refusal each time."""

    def outcome(pieces: list[bytes]) -> object:
        try:
            found, form = read(pieces)
        except MalformedForm as error:
            return str(error)
        return found, form.ended, form.files

    expected = outcome([body])
    for length in (1, 2, 3, 7, 50):
        assert outcome(cuts(body, length)) == expected


@pytest.mark.parametrize("length", [1, 5, 10_000])
@pytest.mark.parametrize("preamble", [b"", b"\r\n", b"This is a form.\r\n", b"a\nb\r\n--Xy\r\n", b"\n"])
def test_a_preamble_is_passed_over(preamble: bytes, length: int) -> None:
    """What stands before the first delimiter is for people (RFC 2046, section 5.1.1)."""
    found, form = read(cuts(preamble + in_form(FILE + b"photo"), length))
    assert (found, form.ended) == ([(b"file", True, b"photo")], True)


def test_what_has_no_delimiter_is_refused_early() -> None:
    """A preamble is no place for a photo."""
    with pytest.raises(MalformedForm, match="it has no line --XyZ"):
        read([bytes(MULTIPART_ALLOWANCE // 2)] * 3)


@pytest.mark.parametrize("length", [1, 5, 10_000])
def test_lines_may_end_in_lf_alone(length: int) -> None:
    """If the first one does; the content keeps every other byte."""
    photo = b"\xff\xd8\r\n\n--Xy\n--XyZz\r\n\r"
    body = in_form(FILE.replace(b"\r\n", b"\n") + photo, FILE + b"x", line=b"\n")
    found, form = read(cuts(b"preamble\n" + body, length))
    assert (found, form.ended) == ([(b"file", True, photo), (b"file", True, b"x")], True)


def test_spaces_may_follow_a_boundary() -> None:
    """Transport padding (RFC 2046); content that only begins like a delimiter is content."""
    body = b"--XyZ \t\r\n" + FILE + b"a\r\n--XyZ \tb\r\n--XyZ\t\r\n" + FILE + b"c\r\n--XyZ--"
    found, form = read([body])
    assert ([content for *_, content in found], form.ended) == ([b"a\r\n--XyZ \tb", b"c"], True)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"", (b"", False)),
        (b"Content-Disposition: form-data; name=a\r\n", (b"a", False)),
        (b'Content-Disposition: form-data;\r\n name="a";\r\n\tfilename="b c"\r\n', (b"a", True)),
        (b"content-disposition:form-data;name=a;filename=\r\n", (b"a", True)),
        (b"Content-Disposition: form-data; name=a; filename*=UTF-8''x\r\n", (b"a", True)),
        (b"Content-Disposition: form-data; name=a\r\nContent-Type: image/png\r\n", (b"a", True)),
        (b'Content-Disposition: form-data; name="a; filename=b"\r\n', (b"a; filename=b", False)),
        (b'Content-Disposition: form-data; name="a\\"b"; filename="\\\\"\r\n', (b'a"b', True)),
        (b"Content-Disposition: form-data; filename=x; name=\xc3\xa4\r\n", (b"\xc3\xa4", True)),
        (b"Content-Transfer-Encoding: base64\r\n", (b"", False)),
        (FILE[:-2] + b"Content-Transfer-Encoding: Binary\r\n", (b"file", True)),
    ],
)
def test_the_header_of_a_part_says_what_it_is(header: bytes, expected: tuple[bytes, bool]) -> None:
    """A file has a file name, even an empty one, or the type of an image; fields may be folded."""
    found, form = read([in_form(header + b"\r\nx")])
    assert (found, form.ended) == ([(*expected, b"x")], True)


@pytest.mark.parametrize("encoding", [b"base64", b"Quoted-Printable", b"x-uuencode"])
def test_an_encoded_file_is_refused_in_plain_words(encoding: bytes) -> None:
    """RFC 7578 does without transfer encodings, and browsers never use one."""
    header = b"Content-Transfer-Encoding: " + encoding + b"\r\n" + FILE
    with pytest.raises(MalformedForm, match="Send its bytes as they are"):
        read([in_form(header + b"/9j/")])


@pytest.mark.parametrize(
    "header", [b"no colon\r\n", b": no name\r\n", b"a b: c\r\n", b"\xe4: c\r\n", b"A: b\rc\r\n"]
)
def test_a_line_that_is_no_header_field_is_refused(header: bytes) -> None:
    """In words that say what a line should be."""
    with pytest.raises(MalformedForm, match="does not begin with header lines"):
        read([in_form(header + b"\r\nx")])


def test_a_header_is_bounded() -> None:
    """In bytes, in fields, and before its end has come."""
    fits = b"X: " + b"y" * (MAX_PART_HEADER - 9) + b"\r\n\r\n"
    assert read([in_form(fits + b"x")])[1].ended
    for piece in (in_form(b"y" + fits + b"x"), b"--XyZ\r\n" + b"X" * MAX_PART_HEADER):
        for pieces in ([piece], cuts(piece, 100)):
            with pytest.raises(MalformedForm, match="more than 8192 bytes"):
                read(pieces)
    assert read([in_form(b"X: y\r\n" * MAX_PART_FIELDS + b"\r\nx")])[1].ended
    with pytest.raises(MalformedForm, match="more than 64 header lines"):
        read([in_form(b"X: y\r\n" * (MAX_PART_FIELDS + 1) + b"\r\nx")])


def test_parts_are_bounded() -> None:
    """In number, however short they are."""
    assert read([in_form(*[b"\r\n"] * MAX_PARTS)])[1].ended
    with pytest.raises(MalformedForm, match="more than 1000 fields and files"):
        read([in_form(*[b"\r\n"] * (MAX_PARTS + 1))])


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary="a "',
        "multipart/form-data; boundary=\xe4",
        "multipart/form-data; boundary=" + "b" * 201,
    ],
)
def test_a_boundary_that_cannot_be_used_is_refused(content_type: str) -> None:
    """None, an impossible one, one that is too long."""
    with pytest.raises(MalformedForm):
        form_in(content_type)


@examples
@given(
    value=st.lists(
        st.sampled_from(["form-data", ";", " ", "=", '"', "\\", "name", "filename", "a", "\t"]), max_size=20
    ).map("".join)
)
def test_parameters_never_fail(value: str) -> None:
    """Whatever stands in the field, a reader gets some parameters."""
    kind, parameters = parse_parameters(value.encode())
    assert kind == value.partition(";")[0].strip().lower().encode()
    assert all(name and b"=" not in name for name in parameters)


# --- the cost of hostile forms --------------------------------------------------------------------------


HOSTILE = {
    "near-boundaries": b"--XyZ\r\n" + FILE + b"\r\n--Xy" * 40_000,
    "boundaries with more": b"--XyZ\r\n" + FILE + b"\r\n--XyZz" * 30_000,
    "line ends": b"--XyZ\r\n" + FILE + b"\r\n" * 120_000,
    "tiny parts": b"--XyZ\r\n\r\n\r\n" * 20_000,
    "tiny fields": b"--XyZ\r\n" + b"a:\r\n" * 60_000,
    "parts of tiny fields": (b"--XyZ\r\n" + b"a:\r\n" * 60 + b"\r\n\r\n") * 1000,
    "parameters": (b"--XyZ\r\nContent-Disposition: form-data" + b";a=b" * 1900 + b"\r\n\r\n\r\n") * 30,
    "quotes": (b"--XyZ\r\nContent-Disposition: x" + b';a="\\"' * 1100 + b"\r\n\r\n\r\n") * 30,
    "folds": (b"--XyZ\r\nX:" + b"\r\n " * 2600 + b"\r\n\r\n\r\n") * 30,
}
"""Bodies of 256 KiB that cost readers much which look at each byte or field."""


def _lines_run(body: bytes) -> int:
    """Lines of Python that run to read a body up to its refusal, which does not depend on the machine."""
    count = 0

    def trace(*_: object) -> object:
        nonlocal count
        count += 1
        return trace

    form = Form(BOUNDARY)
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        for _ in form.feed(body):
            if form.overhead > MULTIPART_ALLOWANCE:
                break
    except MalformedForm:
        pass
    finally:
        sys.settrace(None)
    return count


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_no_body_makes_much_work(body: bytes) -> None:
    """256 KiB of anything run fewer than 100 000 lines of Python."""
    assert _lines_run(body) < 100_000
