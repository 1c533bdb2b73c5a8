"""Who is served, and for how long who is away is remembered."""

from __future__ import annotations

from dataclasses import replace

from gdispy.protocol.ids import Instance
from gdispy.protocol.messages import Cpus, Inventory
from gdispy.protocol.rows import Claim
from gdispy.rules.effects import Drop, Send
from gdispy.rules.node.effects import Shutdown, Unload
from gdispy.rules.node.sessions import LEASE_PULSES
from tests.unit.builders import C, hello
from tests.unit.rules.node.building import TOKEN, A, B, Served

OTHER = b"o" * 16


def test_other_scheduler_is_refused_while_one_is_connected_and_a_recoverer_is_not() -> None:
    served = Served()
    served.join()
    refusal = served.sessions.admit(hello(OTHER))
    assert isinstance(refusal, str) and "in use by client;" in refusal
    assert not isinstance(served.sessions.admit(hello(OTHER, role="recoverer")), str)


def test_recoverer_keeps_no_scheduler_out() -> None:
    served = Served()
    served.join(message=hello(OTHER, role="recoverer"))
    assert not isinstance(served.sessions.admit(hello()), str)


def test_older_run_of_a_scheduler_is_refused() -> None:
    served = Served()
    served.join(message=replace(hello(), epoch=2))
    refusal = served.sessions.admit(replace(hello(), epoch=1))
    assert isinstance(refusal, str) and "an old copy" in refusal


def test_older_run_that_is_refused_changes_nothing_of_the_one_that_is_served() -> None:
    served = Served()
    served.join(message=replace(hello(), epoch=2))
    assert isinstance(served.sessions.admit(replace(hello(role="recoverer"), epoch=1)), str)
    session = served.sessions.at(A)
    assert session is not None and not session.recovers


def test_newer_connection_of_a_scheduler_replaces_the_old_one() -> None:
    served = Served()
    served.join()
    assert Drop(A, "replaced by a newer connection") in served.join(B)
    assert served.sessions.at(A) is None and served.sessions.serves(B)


def test_scheduler_hears_what_is_here_and_what_is_offered_where_that_has_varied() -> None:
    served = Served()
    served.jobs.capacity.want(1)
    assert served.join() == [Send(A, Inventory([], [], [])), Send(A, Cpus(1))]


def test_scheduler_that_holds_nothing_is_forgotten_when_it_goes() -> None:
    served = Served()
    served.join()
    served.sessions.gone(A, 1.0)
    assert served.sessions.clients() == ([], [])


def test_scheduler_that_stays_away_is_given_up_after_its_lease_and_not_before() -> None:
    served = Served()
    served.join(message=replace(hello(), pulse=10.0))
    served.bring()
    served.sessions.gone(A, 1.0)
    end = 1.0 + LEASE_PULSES * 10.0
    assert served.sessions.due() == [end]
    assert served.sessions.expire(end - 0.1) == []
    assert served.sessions.expire(end) == [Unload(C)]


def test_what_somebody_may_take_over_is_kept_when_its_scheduler_is_given_up() -> None:
    served = Served()
    served.join()
    served.bring(TOKEN)
    served.sessions.gone(A, 1.0)
    assert served.sessions.expire(60.0) == [Unload(C)]
    assert served.state.computations[C].processes.is_over
    assert served.sessions.due() == [160.0]


def test_node_ends_when_as_many_were_served_as_it_is_to_serve() -> None:
    served = Served(serve=1)
    served.join()
    served.bring()
    served.sessions.gone(A, 1.0)
    served.sessions.give_up_absent(2.0)
    owner = served.state.unloaded(C)
    assert owner is not None and not served.sessions.is_finishing
    served.sessions.note_leaving(owner)
    assert served.sessions.is_finishing
    assert served.sessions.farewell() == [Shutdown()]
    assert served.sessions.admit(hello(OTHER)) == "it stops when its current work is done"


def test_scheduler_that_never_brought_anything_does_not_count_as_served() -> None:
    served = Served(serve=1)
    served.join()
    served.sessions.gone(A, 1.0)
    assert not served.sessions.is_finishing


def test_claim_moves_a_computation_and_its_former_scheduler_is_forgotten() -> None:
    served = Served()
    served.join()
    served.bring(TOKEN)
    served.sessions.gone(A, 1.0)
    served.join(B, replace(hello(OTHER), claims=[Claim(C, TOKEN, 2)]))
    assert served.state.computations[C].session.instance == Instance(OTHER)
    assert len(served.sessions.all()) == 1
