"""The name of a file in a form, as clients of all kinds send it."""

import pytest

from app.uploads.file_name import MAX_NAME_BYTES, file_name
from app.uploads.multipart import parse_parameters

NAMES = {
    "plain": (b'filename="photo.jpg"', "photo.jpg"),
    "unquoted": (b"filename=photo.jpg", "photo.jpg"),
    "UTF-8": ('filename="Grün 写真 👩‍🚀.jpg"'.encode(), "Grün 写真 👩‍🚀.jpg"),
    "Latin-1, as old clients send it": ('filename="Grün.jpg"'.encode("latin-1"), "Grün.jpg"),
    "a quote as browsers write it": (b'filename="1%22 photo 50%.jpg"', '1" photo 50%.jpg'),
    "a quote as curl wrote it": (b'filename="1\\" photo.jpg"', '1" photo.jpg'),
    "filename* goes first": (b"filename=x.jpg; filename*=UTF-8''%e2%82%ac%20rates.jpg", "€ rates.jpg"),
    "filename* in Latin-1": (b"filename*=iso-8859-1'en'%A3.jpg", "£.jpg"),
    "filename* of an unknown charset": (b"filename=x.jpg; filename*=utf-7''y.jpg", "x.jpg"),
    "filename* that is not UTF-8": (b"filename*=UTF-8''%e4.jpg", "ä.jpg"),
    "folders": (b'filename="../../etc/passwd"', "passwd"),
    "folders of Windows": (b'filename="C:\\Users\\me\\photo.jpg"', "photo.jpg"),
    "folders behind percent signs": (b"filename*=UTF-8''..%2F..%5Cphoto.jpg", "photo.jpg"),
    "control characters": (b'filename="a\0b\x1b[31m\xc2\x85c\xe2\x80\xa8.jpg"', "ab[31mc.jpg"),
    "directions": ('filename="photo\u202egpj.exe"'.encode(), "photogpj.exe"),
    "the narrow space of a macOS screenshot": ('filename="10.00\u202fAM.png"'.encode(), "10.00\u202fAM.png"),
    "spaces around": (b'filename="  photo.jpg "', "photo.jpg"),
    "none": (b"name=file", None),
    "empty": (b'filename=""', None),
    "only a folder": (b'filename="photos/"', None),
    "only dots": (b'filename="../.."', None),
    "too long": (b'filename="' + "€".encode() * 100 + b'"', "€" * (MAX_NAME_BYTES // 3)),
    "too long by a part of a character": (b'filename="aa' + "€".encode() * 100 + b'"', "aa" + "€" * 84),
}


@pytest.mark.parametrize("case", NAMES)
def test_a_file_name_is_read_and_made_safe(case: str) -> None:
    """Decoded; without folders, control characters and directions; of at most 255 bytes."""
    parameters, expected = NAMES[case]
    assert file_name(parse_parameters(b"form-data; " + parameters)[1]) == expected
