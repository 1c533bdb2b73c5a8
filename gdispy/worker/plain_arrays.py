"""Arrays and scalars of numpy as rows of data types and shapes, and bytes beside them; for `plain.py`.

Standard library. numpy is imported only when an array arrives.

A row is `[dtype, shape, order, is a scalar]`. A dtype is numpy's text for it, such as '<f8'; or for a structure
`[names, dtypes, offsets, bytes, is aligned]`, and for a field that is an array `[dtype, shape]`.
"""

from __future__ import annotations

import math
import re
import sys
from typing import Any

#: Data types without objects: bool, integers, floats, complex, time spans and times, bytes, text, void.
_SIMPLE = re.compile(r"[<>|][biufcmMSUV][0-9]{1,9}(\[[0-9]{0,9}[a-zA-Z]{1,8}\])?")
#: Maximum nesting of structures, number of fields, and number of dimensions.
_DEPTH = 8
_FIELDS = 4096
_DIMENSIONS = 64
#: The largest character of text.
_LAST_CHARACTER = 0x10FFFF


def is_one(value: object) -> bool:
    """Whether a value is an array or a scalar of numpy."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and (type(value) is numpy.ndarray or isinstance(value, numpy.generic))


def described(value: Any) -> tuple[Any, Any] | None:
    """The row and the bytes of an array or a scalar; the reason and None if it cannot be encoded exactly; and None for
    anything else."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    is_scalar = isinstance(value, numpy.generic)
    if type(value) is not numpy.ndarray and not is_scalar:
        return None
    array = numpy.asarray(value)
    if is_scalar and array.dtype.type is not type(value):
        return None
    row = _described_dtype(array.dtype)
    if row is None or not array.dtype.itemsize or not _is_same(_dtype(numpy, row, 0), array.dtype):
        return f"of the dtype {array.dtype}, which holds Python objects or something else that is not plain data", None
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    order = "F" if is_fortran else "C"
    return [row, list(array.shape), order, is_scalar], array.tobytes(order)


def _is_same(one: Any, other: Any) -> bool:
    return one == other and one.type is other.type


def _described_dtype(dtype: Any) -> Any:
    """The row of a data type; None if it has none."""
    if dtype.hasobject:
        return None
    if dtype.subdtype is not None:
        base = _described_dtype(dtype.subdtype[0])
        return base and [base, list(dtype.subdtype[1])]
    if dtype.names is None:
        return dtype.str if _SIMPLE.fullmatch(dtype.str) else None
    fields = [dtype.fields[name] for name in dtype.names]
    rows = [_described_dtype(field[0]) for field in fields]
    if not fields or None in rows or any(len(field) > 2 for field in fields):
        return None
    return [list(dtype.names), rows, [field[1] for field in fields], dtype.itemsize, dtype.isalignedstruct]


def size_of(row: Any) -> int:
    """The size of the data of a row. Raises ValueError for an invalid row."""
    dtype, shape = _checked(row)
    return math.prod(shape) * int(dtype.itemsize)


def made(row: Any, data: Any) -> Any:
    """The array, or the scalar, of a row, in a writable buffer of its size. Raises ValueError."""
    import numpy

    dtype, shape = _checked(row)
    array = numpy.ndarray(shape, dtype, data, order=row[2]) if len(data) else numpy.empty(shape, dtype, row[2])
    _check_contents(numpy, array)
    return array[()] if row[3] else array


def _checked(row: Any) -> tuple[Any, tuple[int, ...]]:
    try:
        import numpy
    except ImportError:
        raise ValueError("it holds arrays of numpy, which is not installed here") from None

    if type(row) is not list or len(row) != 4 or row[2] not in ("C", "F") or type(row[3]) is not bool:
        raise ValueError("an array that is none")
    dtype, shape = _dtype(numpy, row[0], 0), _shape(row[1])
    if not dtype.itemsize or dtype.hasobject or (row[3] and shape):
        raise ValueError("an array that is none")
    return dtype, shape


def _shape(value: Any) -> tuple[int, ...]:
    if type(value) is not list or len(value) > _DIMENSIONS:
        raise ValueError("a shape that is none")
    if any(type(each) is not int or not 0 <= each < 1 << 62 for each in value):
        raise ValueError("a shape that is none")
    return tuple(value)


def _dtype(numpy: Any, row: Any, depth: int) -> Any:
    """The data type of a row. Raises ValueError."""
    if type(row) is str and _SIMPLE.fullmatch(row):
        try:
            return numpy.dtype(row)
        except TypeError as error:
            raise ValueError(f"no data type on this machine: {error}") from None
    if type(row) is not list or depth >= _DEPTH:
        raise ValueError("a data type that is none")
    if len(row) == 2:
        return numpy.dtype((_dtype(numpy, row[0], depth + 1), _shape(row[1])))
    names, formats, offsets, size, is_aligned = row
    if not (type(names) is type(formats) is type(offsets) is list and len(names) <= _FIELDS):
        raise ValueError("a structure that is none")
    if any(type(each) is not str for each in names) or any(type(each) is not int for each in [*offsets, size]):
        raise ValueError("a structure that is none")
    kinds = [_dtype(numpy, each, depth + 1) for each in formats]
    about = {"names": names, "formats": kinds, "offsets": offsets, "itemsize": size}
    return numpy.dtype(about, align=is_aligned is True)


def _check_contents(numpy: Any, array: Any) -> None:
    """Raise ValueError for invalid characters, and for a bool that is neither true nor false."""
    if array.dtype.names is not None:
        for name in array.dtype.names:
            _check_contents(numpy, array[name])
    elif array.dtype.kind == "b" and array.size and array.view("u1").max() > 1:
        raise ValueError("a truth that is neither true nor false")
    elif array.dtype.kind == "U" and array.size:
        codes = numpy.ascontiguousarray(array).view(numpy.dtype("u4").newbyteorder(array.dtype.byteorder))
        if codes.max() > _LAST_CHARACTER:
            raise ValueError("a text that is none")
