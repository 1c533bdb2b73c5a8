"""Plain results: what comes out is what went in, anything else is refused with its place, and no bytes do harm."""

from __future__ import annotations

import collections
import contextlib
import datetime
import decimal
import enum
import math
import pickle
import random
import resource
import struct
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from gdispy.worker.batch import checked_results, pack_results
from gdispy.worker.plain import DEPTH, MARK, NotPlain, dumps, loads

KEYS = st.one_of(
    *(st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(allow_nan=False)),
    *(st.text(max_size=8), st.binary(max_size=8)),
)
SURROGATES = st.text(st.characters(categories=("Cs", "Lu")), max_size=5)
ATOMS = st.one_of(
    *(KEYS, st.integers(), st.complex_numbers(allow_nan=False), SURROGATES),
    st.binary(max_size=8).map(bytearray),
)
VALUES = st.recursive(
    st.one_of(ATOMS, st.sets(KEYS, max_size=4), st.frozensets(KEYS, max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(KEYS, inner, max_size=5),
    ),
    max_leaves=20,
)
DTYPES = st.one_of(
    npst.scalar_dtypes(),
    npst.array_dtypes(max_size=3),
    npst.nested_dtypes(max_itemsize=100),
)


def joined(value: Any) -> bytes:
    data = dumps(value)
    return data if isinstance(data, bytes) else b"".join(data)


def back(value: Any) -> Any:
    return loads(joined(value))


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return all(map(same, one.keys(), other.keys())) and all(map(same, one.values(), other.values()))
    if isinstance(one, set | frozenset):
        return one == other and {(type(each), each) for each in one} == {(type(each), each) for each in other}
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other)
    return bool(one == other)


@example(value=[1 << 64, -(1 << 63) - 1, -0.0, math.inf, (), [()], {"a": ({1},)}, "\ud800\udc00"])
@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_value_comes_back_as_it_was(value: Any) -> None:
    assert same(back(value), value)


def has_titles(dtype: Any) -> bool:
    """Whether a field has a second name, which is refused."""
    dtype = dtype.base
    fields = dtype.fields.values() if dtype.fields else ()
    return any(len(field) > 2 or has_titles(field[0]) for field in fields)


def test_order_of_a_dict_and_what_is_no_number_come_back() -> None:
    assert list(back({"b": 1, "a": 2, 3: 4})) == ["b", "a", 3]
    assert math.isnan(back(math.nan)) and math.isnan(back([math.nan])[0])


@given(npst.arrays(DTYPES, npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)), st.booleans())
@settings(max_examples=300, deadline=None)
def test_array_comes_back_as_it_was(array: Any, is_fortran: bool) -> None:
    array = np.asfortranarray(array) if is_fortran else array
    if array.dtype.itemsize == 0 or has_titles(array.dtype):
        with pytest.raises(NotPlain):
            dumps(array)
        return
    found = back({"x": [array]})["x"][0]
    assert type(found) is np.ndarray and found.dtype == array.dtype and found.shape == array.shape
    assert found.tobytes("A") == array.tobytes("A") and found.flags.writeable
    for order in ("c_contiguous", "f_contiguous"):
        assert getattr(found.flags, order) == getattr(array.flags, order)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.zeros((0, 5), "<U3"),
        np.empty((3, 0, 2), order="F"),
        np.array(7),
        np.arange(20)[::3],
        np.arange(12).reshape(3, 4).T,
        np.array(["2001-01-01", "NaT"], "M8[D]"),
        np.array([1, 2], "m8[25s]"),
        np.array([(1, 2.0)], np.dtype([("a", "i1"), ("b", "f8")], align=True)),
        np.array([((1, 2), [3, 4])], [("a", [("x", "u1"), ("y", ">u2")]), ("b", "f4", (2,))]),
        np.array([b"a\0b", b""]),
        np.array([True, False]),
        np.array([1j], ">c16"),
        np.float16([1.5]),
    ],
)
def test_each_kind_of_array(array: Any) -> None:
    found = back(array)
    assert (found.dtype == array.dtype and found.shape == array.shape and np.array_equal(found, array, False)) or (
        array.dtype.kind == "M"
    )
    assert found.tobytes() == array.tobytes() and found.dtype.isalignedstruct == array.dtype.isalignedstruct


@pytest.mark.parametrize(
    "scalar",
    [np.float32(1.1), np.int8(-3), np.bool_(True), np.datetime64("2020-01-01"), np.str_("ab"), np.complex64(1j)],
)
def test_scalar_of_numpy_stays_one(scalar: Any) -> None:
    assert type(back([scalar])[0]) is type(scalar) and back(scalar) == scalar


def test_arrays_are_views_of_a_writable_buffer_and_aligned() -> None:
    value = [np.arange(5.0), np.ones(3, "i1"), np.arange(7)]
    data = bytearray(joined(value))
    found = loads(data)
    before = bytes(data)
    for array in found:
        assert array.flags.aligned and not array.flags.owndata
        array[:] = 0
    assert bytes(data) != before
    assert loads([memoryview(joined(value))[:50], memoryview(joined(value))[50:]])[2].tolist() == list(range(7))


class Number(enum.IntEnum):
    ONE = 1


class Words(list):  # type: ignore[type-arg]
    pass


class Mine(np.ndarray):
    pass


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": [1, 2, 3, decimal.Decimal(1)]}, "result['a'][3] is a decimal.Decimal"),
        (object(), "result is an object"),
        ([(1, {"x": datetime.date(2020, 1, 1)})], "result[0][1]['x'] is a datetime.date"),
        (Number.ONE, "result is a tests.unit.worker.test_plain.Number"),
        ([Words()], "result[0] is a tests.unit.worker.test_plain.Words"),
        (collections.OrderedDict(a=1), "result is a collections.OrderedDict"),
        ({"a": collections.Counter()}, "result['a'] is a collections.Counter"),
        ({(1, 2): 3}, "a key of result is a tuple"),
        ([{1 << 64: 3}], "a key of result[0] is an int of more than 64 bits"),
        ([{(1,)}], "an element of result[0] is a tuple"),
        (memoryview(b""), "result is a memoryview"),
        (int, "result is a type"),
        (len, "result is a builtin_function_or_method"),
        (msgpack.Timestamp(1), "result is a msgpack.ext.Timestamp"),
        (msgpack.ExtType(1, b""), "result is a msgpack.ext.ExtType"),
        (ValueError(), "result is a ValueError"),
        (np.array([1, "a"], object), "result is a numpy.ndarray of the dtype object"),
        (np.array([(1, None)], [("a", "i4"), ("b", object)]), "result is a numpy.ndarray of the dtype"),
        (np.ma.masked_array([1], [True]), "result is a numpy.ma.MaskedArray"),
        (np.arange(3).view(Mine), "result is a tests.unit.worker.test_plain.Mine"),
        (np.rec.array([(1,)], [("a", "i4")]), "result is a numpy.rec"),
        (np.dtype("i4"), "result is a numpy.dtype"),
        ({"a": 1, "b": range(3)}, "result['b'] is a range"),
    ],
)
def test_what_would_not_come_back_is_refused_with_its_type_and_place(value: Any, told: str) -> None:
    with pytest.raises(NotPlain) as caught:
        dumps(value)
    assert str(caught.value).startswith(told), caught.value


def test_value_that_contains_itself_or_is_very_deep_is_refused() -> None:
    own: list[Any] = []
    own.append(own)
    deep: Any = 1
    for _ in range(DEPTH):
        deep = (deep,)
    assert back(deep) == deep
    for value in (own, (deep,), {"a": own}):
        with pytest.raises(NotPlain, match=f"is in more than {DEPTH} containers, or contains itself"):
            dumps(value)


# Bytes that somebody has made up


def made_up(head: bytes, arrays: bytes = b"") -> bytes:
    return struct.pack(">BI", MARK, len(head)) + head + arrays


def packed(value: Any) -> bytes:
    return bytes(msgpack.packb(value))


def array_row(*row: Any) -> bytes:
    return packed(msgpack.ExtType(7, packed(list(row))))


BOMB = b"\xdd\x00\x0f\x42\x40"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x03", id="its mark only"),
        pytest.param(b"\x03\xff\xff\xff\xff", id="a head that is not there"),
        pytest.param(pickle.dumps([1], 5), id="a pickle"),
        pytest.param(b"\x02" + pickle.dumps(ValueError(1), 5), id="an exception"),
        pytest.param(made_up(b""), id="no value"),
        pytest.param(made_up(packed(1) * 2), id="two values"),
        pytest.param(made_up(packed(1), b"more"), id="more than it says"),
        pytest.param(made_up(b"\xc1"), id="no msgpack"),
        pytest.param(made_up(b"\xdd\xff\xff\xff\xff"), id="a list that is not there"),
        pytest.param(made_up(b"\xdf\xff\xff\xff\xff"), id="a dict that is not there"),
        pytest.param(made_up(BOMB * 900 + bytes(1_000_000)), id="lists in lists that are not there"),
        pytest.param(made_up(b"\x91" * 5000 + b"\xc0"), id="very deep"),
        pytest.param(made_up(b"\x92" + packed(1j.real) + b"\x81" * 2000), id="very deep dicts"),
        pytest.param(made_up(b"\x92\xd6\xff\0\0\0\0\xc0"), id="a date"),
        pytest.param(made_up(b"\xc7\x0c\xff" + bytes(12)), id="a longer date"),
        pytest.param(made_up(packed(msgpack.ExtType(1, b""))), id="a marker alone"),
        pytest.param(made_up(packed([1, msgpack.ExtType(1, b"")])), id="a marker behind"),
        pytest.param(made_up(packed([msgpack.ExtType(1, b"x")])), id="a marker with data"),
        pytest.param(made_up(packed([msgpack.ExtType(2, b""), [1]])), id="a set of lists"),
        pytest.param(
            made_up(packed([msgpack.ExtType(2, b""), msgpack.ExtType(5, bytes(30))])), id="a set of large ints"
        ),
        pytest.param(
            made_up(b"\x81" + packed(msgpack.ExtType(5, b"\1" * 30)) + b"\xc0"), id="a key that is a large int"
        ),
        pytest.param(made_up(b"\x81" + packed(msgpack.ExtType(6, bytes(16))) + b"\xc0"), id="a key that is complex"),
        pytest.param(made_up(b"\x81\x91\x01\xc0"), id="a key that is a list"),
        pytest.param(made_up(packed(msgpack.ExtType(6, b"x"))), id="a complex that is short"),
        pytest.param(made_up(packed(msgpack.ExtType(99, b""))), id="another extension"),
        pytest.param(made_up(b"\xa2\xff\xff"), id="text that is none"),
        pytest.param(made_up(array_row("<f8", [3], "C", False)), id="an array without data"),
        pytest.param(made_up(array_row("<f8", [1 << 61], "C", False), bytes(99)), id="a huge array"),
        pytest.param(made_up(array_row("<f8", [0, 1 << 61], "C", False)), id="a huge array of nothing"),
        pytest.param(made_up(array_row("<f8", [-1], "C", False)), id="a negative length"),
        pytest.param(made_up(array_row("<f8", [0] * 70, "C", False)), id="too many dimensions"),
        pytest.param(made_up(array_row("<f8", [0], "K", False)), id="another order"),
        pytest.param(made_up(array_row("<f8", [0], "C", True)), id="a scalar that is an array"),
        pytest.param(made_up(array_row("|O8", [0], "C", False)), id="objects"),
        pytest.param(made_up(array_row("O", [0], "C", False)), id="objects, shorter"),
        pytest.param(made_up(array_row("<U0", [1 << 50], "C", False)), id="elements of no size"),
        pytest.param(made_up(array_row("i4,O", [0], "C", False)), id="a structure as text"),
        pytest.param(made_up(array_row("<M8[x]", [0], "C", False)), id="another unit"),
        pytest.param(made_up(array_row([["a"], ["|O8"], [0], 8, False], [0], "C", False)), id="objects in a structure"),
        pytest.param(
            made_up(array_row([["a"], ["<i8"], [1 << 40], 8, False], [0], "C", False)), id="a field elsewhere"
        ),
        pytest.param(made_up(array_row([["a"], ["<i8"], [-8], 8, False], [0], "C", False)), id="a field before"),
        pytest.param(made_up(array_row([["a"], [1], [0], 8, False], [0], "C", False)), id="a field of no kind"),
        pytest.param(made_up(array_row(["<i8", [1 << 40]], [1], "C", False)), id="a huge field"),
        pytest.param(made_up(array_row([], [0], "C", False)), id="a kind that is none"),
        pytest.param(made_up(packed(msgpack.ExtType(7, b"\xc1")), bytes(64)), id="an array that is no row"),
    ],
)
def test_bytes_that_are_none_are_refused(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(NotPlain):
            loads(data)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000 + 50 * len(data)
    finally:
        tracemalloc.stop()


def test_characters_and_truths_that_are_none_are_refused() -> None:
    for kind, data in (("<U1", b"\xff\xff\xff\x7f"), (">U1", b"\x7f\xff\xff\xff"), ("|b1", b"\x02")):
        head = array_row(kind, [1], "C", False)
        gap = bytes(-(5 + len(head)) % 64)
        with pytest.raises(NotPlain, match="that is n"):
            loads(made_up(head, gap + data))


@given(st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
def test_random_bytes_are_refused_or_read(data: bytes) -> None:
    for each in (data, made_up(data)):
        try:
            found = loads(each)
        except NotPlain:
            continue
        assert type(found).__module__ in ("builtins", "numpy")


@given(VALUES, st.integers(0, 1 << 30), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_bytes_that_were_changed_are_refused_or_read(value: Any, place: int, bits: int) -> None:
    data = bytearray(joined([value, np.arange(3)]))
    data[place % len(data)] ^= bits
    with contextlib.suppress(NotPlain):
        loads(bytes(data))


def test_no_keys_take_for_ever() -> None:
    """Integers that all begin to look in one place of a table, and as many floats as can have the same hash."""
    count = 200_000
    keys = {number << 40: None for number in range(count)}
    floats = {math.ldexp(1.0, 61 * number): None for number in range(-17, 16)}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    assert len(back(keys)) == count and back(floats) == floats
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 20


# Results of several calls in one job


def test_results_of_several_calls() -> None:
    data = pack_results([b"a", [b"b", b"c"]], [(1, "failed")])
    assert checked_results(data, 2) == ([b"a", b"bc"], {1: "failed"})


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\1", pickle.dumps(1), b"\1\xc1", b"\1" + packed([[b"a"] * 3, []]), b"\1" + packed([[], []])),
        *(b"\1" + packed([[1], []]), b"\1" + packed([[b"a"], 1]), b"\1" + packed([[b"a"], [[0, 1]]])),
        *(b"\1" + packed([[b"a"], [["x", "y"]]]), b"\1" + packed(7), b"\1" + BOMB * 900 + bytes(1_000_000)),
    ],
)
def test_results_of_several_calls_that_are_none_are_refused(data: bytes) -> None:
    with pytest.raises((ValueError, TypeError, msgpack.OutOfData)):
        checked_results(data, 2)


def test_large_values_are_not_slow() -> None:
    generator = random.Random(1)
    value = {f"k{number}": (generator.random(), number) for number in range(50_000)}
    assert back(value) == value
