"""What Python's library makes for classes is made anew where they arrive."""

from __future__ import annotations

import dataclasses
import gc
import typing
from collections import namedtuple
from dataclasses import dataclass, field
from typing import Any

import pytest

from gdispy.worker import generated


def _arrived(cls: Any, *bases: type) -> Any:
    """The class, made of all that is not the library's, and of what that makes then."""
    names, recipes = generated.parts_of(cls)
    lost = ("__dict__", "__weakref__", *names)
    kept = {name: value for name, value in vars(cls).items() if name not in lost}
    made = type(cls.__name__, bases, {**kept, "__qualname__": cls.__qualname__})
    generated.make(made, recipes)
    return made


@dataclass(frozen=True, order=True)
class _Point:
    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list, compare=False)
    size: dataclasses.InitVar[int] = 0
    kind: typing.ClassVar[str] = "point"

    def __post_init__(self, size: int) -> None:
        object.__setattr__(self, "area", size**2)


def test_methods_of_a_dataclass() -> None:
    point = _arrived(_Point)
    one = point(1, size=3)
    assert (repr(one), one.area, one.kind) == ("_Point(x=1, y=2, tags=[])", 9, "point")
    assert one == point(1, tags=["t"])
    assert (one < point(1, 3), hash(one) == hash(point(1))) == (True, True)
    assert one.tags is not point(1).tags
    # That it is frozen holds for itself, and not for what it was made from.
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.x = 2
    assert dataclasses.replace(one, y=5, size=1).y == 5
    assert point.__init__.__annotations__["x"] == _Point.__init__.__annotations__["x"]
    assert (point.__init__.__qualname__, point.__init__.__module__) == ("_Point.__init__", __name__)
    assert repr(point.__dataclass_params__) == repr(_Point.__dataclass_params__)  # type: ignore[attr-defined]


def test_a_dataclass_does_not_need_its_bases_for_it() -> None:
    @dataclass
    class Further(_Base):
        b: int = 2

    # Where they refer to each other, a class is filled before its base is.
    assert repr(_arrived(Further)(b=4)) == f"{Further.__qualname__}(a=1, b=4)"


@dataclass
class _Base:
    a: int = 1


def test_methods_that_the_program_has_exchanged_are_its_own() -> None:
    @dataclass
    class Changed:
        a: int = 1

        def __eq__(self, other: object) -> bool:
            return False

    Changed.__repr__ = lambda self: "changed"  # type: ignore[method-assign]
    names, _ = generated.parts_of(Changed)
    assert {"__repr__", "__eq__"} & names == set()
    assert "__init__" in names


def test_methods_of_a_named_tuple() -> None:
    Row = namedtuple("Row", "a b")
    Row.__new__.__defaults__ = (7,)
    made = _arrived(Row, tuple)
    assert (repr(made(1)), made(1)._replace(a=0), made._make([1, 2]).b, made(1)._asdict()) == (
        *("Row(a=1, b=7)", (0, 7), 2),
        {"a": 1, "b": 7},
    )
    assert not {"_make", "__new__", "_replace"} - generated.parts_of(Row)[0]


def test_models_live_as_long_as_they_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    is_alike = generated._is_alike

    def slowly(one: Any, other: Any) -> bool:
        gc.collect()
        return is_alike(one, other)

    monkeypatch.setattr(generated, "_is_alike", slowly)
    Row = namedtuple("Row", "a b")
    assert generated.parts_of(Row)[0] >= {"__new__", "_make", "_replace", "__repr__", "_asdict", "__getnewargs__"}
    assert generated.parts_of(_Point)[0] >= {"__init__", "__repr__", "__eq__", "__lt__", "__hash__", "__setattr__"}


def test_what_only_looks_like_a_dataclass_keeps_its_methods() -> None:
    class Foreign:
        __dataclass_fields__ = {"a": 1}
        __dataclass_params__ = object()

        def __init__(self) -> None: ...

    assert generated.parts_of(Foreign) == (frozenset(), [])
