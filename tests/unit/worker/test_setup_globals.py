"""Which dictionaries of globals see the variables of `setup`."""

from __future__ import annotations

import builtins
import functools
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from gdispy.worker.setup_globals import Globals, Namespaces


def function(text: str = "def f(): return x", **names: Any) -> Any:
    """A function as it arrives: with a separate dictionary of globals."""
    space: dict[str, Any] = {"__name__": "__main__", **names}
    exec(text, space)
    return space["f"]


@pytest.fixture(autouse=True)
def same_names() -> Iterator[None]:
    places = [vars(builtins), vars(sys.modules["__main__"])]
    before = [dict(each) for each in places]
    yield
    for place, names in zip(places, before, strict=True):
        for name in place.keys() - names.keys():
            del place[name]


def test_variable_that_setup_has_set_is_seen_by_all_functions() -> None:
    setup, work = function("def f():\n    global x\n    x = 5"), function()
    watched = Globals([setup, work])
    setup()
    assert watched.share() == {"x": 5} and work() == 5
    assert builtins.x == 5 and vars(sys.modules["__main__"])["x"] == 5  # type: ignore[attr-defined]


def test_function_that_setup_calls_may_set_it_too() -> None:
    helper = function("def f():\n    global x\n    x = 5")
    setup, work = function("def f(): helper()", helper=helper), function()
    watched = Globals([setup, work])
    setup()
    watched.share()
    assert work() == 5


def test_setup_that_changes_nothing_shares_nothing() -> None:
    setup, work = function(x=1), function(x=2)
    watched = Globals([setup, work])
    assert watched.share() == {} and (setup(), work()) == (1, 2)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda each: each,
        lambda each: functools.partial(functools.partial(each), a=1),
        lambda each: types.MethodType(each, object()),
        lambda each: type("K", (), {"m": each, "__module__": "__main__"}),
    ],
)
def test_functions_in_all_forms_see_given_names_and_keep_their_own(wrap: Any) -> None:
    work = function(own=1)
    Namespaces([wrap(work)]).provide({"own": 2, "given": 3})
    assert (work.__globals__["own"], work.__globals__["given"]) == (1, 3)


def test_modules_of_the_node_are_not_changed() -> None:
    Namespaces([functools.reduce, types.FunctionType, Namespaces.provide]).provide({"given": 3})
    assert "given" not in vars(sys.modules[Namespaces.__module__])


def test_text_is_replaced_only_where_it_has_the_old_value() -> None:
    changed, own = function(path="/shared"), function(path="/own")
    Namespaces([changed, own]).replace("path", "/shared", "/job")
    assert (changed.__globals__["path"], own.__globals__["path"]) == ("/job", "/own")


def test_names_are_lent_for_a_time_and_what_they_hid_is_restored() -> None:
    work = function(x=1)
    spaces = Namespaces([work])
    with spaces.lending({"x": 2, "y": 3}):
        assert work() == 2 and builtins.y == 3  # type: ignore[attr-defined]
    assert work() == 1 and "y" not in work.__globals__ and not hasattr(builtins, "y")


def test_lent_names_are_removed_after_an_error_too() -> None:
    work = function()
    with pytest.raises(ValueError, match="wrong"), Namespaces([work]).lending({"x": 2}):
        raise ValueError("wrong")
    with pytest.raises(NameError):
        work()


def test_lent_functions_see_each_other() -> None:
    helper, user = function("def f(): return 7"), function("def f(): return helper()")
    with Namespaces([function()]).lending({"helper": helper, "user": user}):
        assert user() == 7
    assert "helper" not in user.__globals__
