from __future__ import annotations

import errno
import io

import pytest

from lunette._body import Body
from lunette._digest import Xxh3

DATA = bytes(range(100))


def test_a_part_of_a_file_is_read_from_its_beginning() -> None:
    body = Body(io.BytesIO(DATA), 20, start=10)
    assert (body.size, body.read(5), body.read(50), body.read(50)) == (
        20,
        DATA[10:15],
        DATA[15:30],
        b"",
    )
    body.rewind()
    assert body.read(3) == DATA[10:13]


def test_what_has_arrived_is_left_out_also_of_another_attempt() -> None:
    body = Body(io.BytesIO(DATA), 20, start=10)
    body.read(10)
    body.skip(7)
    assert (body.size, body.read(50)) == (13, DATA[17:30])
    body.rewind()
    assert body.read(50) == DATA[17:30]


def test_parts_of_one_file_do_not_disturb_each_other() -> None:
    file = io.BytesIO(DATA)
    one, other = Body(file, 10), Body(file, 10, start=50)
    assert (one.read(20), other.read(20)) == (DATA[:10], DATA[50:60])


def test_each_byte_is_seen_where_it_is_and_digested_once() -> None:
    digest, told = Xxh3(10), list[int]()
    body = Body(io.BytesIO(DATA), 20, start=10, seen=digest.see, told=told.append)
    body.read(15)
    body.tell_sent()
    body.skip(5)
    while body.read(4):
        body.tell_sent()
    whole = Xxh3()
    whole.see(0, DATA[10:30])
    assert str(digest) == str(whole)
    assert told == [25, 19, 23, 27, 30]


def test_a_file_that_ends_early_is_named() -> None:
    body = Body(io.BytesIO(DATA), 101, name="a")
    assert body.read(200) == DATA
    with pytest.raises(OSError, match="changed while it was read: 'a'") as caught:
        body.read(200)
    assert caught.value.errno == errno.ESTALE
