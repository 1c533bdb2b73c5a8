"""Another implementation of docs/protocol.md (`tests/independent`) talks to real nodes, schedulers and clusters."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy import JobCluster
from gdispy.cli.certificate import make_certificate
from tests.independent import frames, payloads
from tests.independent.frames import FileContents
from tests.independent.keys import TLS_ALERT, Identity, Initiator, Refused, tcp_key
from tests.independent.link import Closed, Link, now_ms
from tests.support.byte_specs import bytes_of
from tests.support.daemons import Daemon, ended
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
VECTORS: dict[str, Any] = json.loads((ROOT / "tests" / "unit" / "protocol" / "vectors.json").read_text())
REFUSED: list[dict[str, Any]] = VECTORS["refused"]
FINISHED = 11

Start = Callable[..., Daemon]
Fields = dict[str, Any]


@pytest.fixture
def psk(secret_file: str) -> bytes:
    return tcp_key(Path(secret_file).read_text())


def scheduler_of(node: Daemon, psk: bytes, identity: Identity | None = None, certfile: str = "") -> Link:
    """A scheduler that is connected to a node, and has heard what that holds."""
    link = Link.connect(node.place, psk, "scheduler>node", identity, certfile)
    link.introduce("scheduler", pulse=5.0)
    assert link.receive()[0] == "Hello" and link.hello["role"] == "node"
    link.receive("Inventory")
    return link


def described(path: str, content: bytes, mode: int = 0o700) -> list[Any]:
    """A row of files."""
    return [path, mode, 1_700_000_000.0, len(content), hashlib.blake2b(content, digest_size=32).digest()]


def preparation(**fields: Any) -> Fields:
    """`Prepare` for a new computation."""
    about: Fields = {"computation": os.urandom(8), "name": "f", "kind": "function", "isolation": "", "python": ""}
    about |= {"directory": "", "cleanup": True, "body": b"", "files": [], "contents": []}
    return about | fields


def prepared(link: Link, contents: list[bytes], **fields: Any) -> bytes:
    """Have a node load a computation, with the files that it asks for; its id."""
    about = preparation(**fields)
    link.send("Prepare", **about)
    name, answer = link.receive("Prepared", "MissingFiles")
    if name == "MissingFiles":
        chosen = [FileContents(contents[place]) for place in answer["places"]]
        link.send("FileContents", computation=about["computation"], places=answer["places"], contents=chosen)
        _, answer = link.receive("Prepared")
    assert answer["error"] == ""
    return bytes(about["computation"])


def outcomes(link: Link, computation: bytes, count: int) -> dict[int, Fields]:
    """The outcomes of so many jobs, by number, each acknowledged."""
    found: dict[int, Fields] = {}
    while len(found) < count:
        _, ends = link.receive("Ended")
        for place, job in enumerate(ends["jobs"]):
            found[job] = {name: value[place] for name, value in ends.items() if isinstance(value, list)}
        link.send("OutcomesAcked", computation=computation, jobs=ends["jobs"], attempts=ends["attempts"])
    return found


def run(link: Link, computation: bytes, arguments: list[bytes]) -> dict[int, Fields]:
    jobs = list(range(1, len(arguments) + 1))
    link.send("Run", computation=computation, jobs=jobs, attempts=[1] * len(jobs), arguments=arguments)
    return outcomes(link, computation, len(jobs))


def release(link: Link, computation: bytes) -> None:
    link.send("Release", computation=computation)
    assert link.receive("Released")[1]["computation"] == computation
    link.close("the client has closed")


SCRIPT = b'#!/bin/sh\necho "$@" of $GDISPY_JOB\necho trouble >&2\nexit 3\n'


def check_program(row: Fields) -> None:
    """The outcome of the script as job 1."""
    assert (row["statuses"], payloads.load(row["results"])) == (FINISHED, 3)
    assert (row["outputs"], row["errors"], row["exceptions"]) == (b"hello world of 1\n", b"trouble\n", "")


# As a scheduler, towards a real node


def test_a_program_runs_on_a_node(node: Daemon, psk: bytes) -> None:
    with scheduler_of(node, psk) as link:
        about = {"kind": "program", "name": "greet", "files": [described("greet", SCRIPT)]}
        computation = prepared(link, [SCRIPT], **about)
        check_program(run(link, computation, [payloads.dump(("hello", "world"))])[1])
        release(link, computation)


def test_a_function_runs_on_a_node_with_arguments_of_any_length(node: Daemon, psk: bytes) -> None:
    with scheduler_of(node, psk) as link:
        computation = prepared(link, [], body=payloads.dump((math.sqrt, {}, None, None)), name="sqrt")
        arguments = [payloads.dump(((float(number),), {})) for number in range(100)]
        found = run(link, computation, [*arguments, payloads.dump((("no number",), {}))])
        assert [payloads.load(found[job]["results"]) for job in range(1, 101)] == [math.sqrt(n) for n in range(100)]
        failed = found[101]
        assert failed["statuses"] == 9 and "TypeError" in failed["exceptions"]
        assert failed["results"][0] == payloads.RAISED
        assert isinstance(payloads.load(failed["results"][1:]), TypeError)
        release(link, computation)


def test_long_payloads_travel_as_streams_both_ways(node: Daemon, psk: bytes) -> None:
    with scheduler_of(node, psk) as link:
        computation = prepared(link, [], body=payloads.dump((bytes.upper, {}, None, None)), name="upper")
        data = os.urandom(1000).hex().encode() * 6000  # 12 MB, more than the window.
        arguments = [payloads.dump(((data,), {})), payloads.dump(((data[:70_000],), {}))]
        found = run(link, computation, arguments)
        assert payloads.load(found[1]["results"]) == data.upper()
        assert payloads.load(found[2]["results"]) == data[:70_000].upper()
        release(link, computation)


def test_what_was_not_collected_is_said_again_on_the_next_connection(node: Daemon, psk: bytes) -> None:
    identity = Identity()
    with scheduler_of(node, psk, identity) as link:
        computation = prepared(link, [], body=payloads.dump((math.sqrt, {}, None, None)))
        link.send("Run", computation=computation, jobs=[7], attempts=[2], arguments=[payloads.dump(((9.0,), {}))])
        assert link.receive("Ended")[1]["jobs"] == [7]
    with Link.connect(node.place, psk, "scheduler>node", identity) as link:
        link.introduce("scheduler")
        held = link.receive("Inventory")[1]
        assert (held["computations"], held["jobs"], held["attempts"]) == ([computation], [[7]], [[2]])
        assert payloads.load(outcomes(link, computation, 1)[7]["results"]) == 3.0
        release(link, computation)


def test_a_cancel_may_come_before_its_job(node: Daemon, psk: bytes) -> None:
    with scheduler_of(node, psk) as link:
        computation = prepared(link, [], body=payloads.dump((math.sqrt, {}, None, None)))
        link.send("Cancel", computation=computation, jobs=[1], attempts=[1])
        assert run(link, computation, [payloads.dump(((9.0,), {}))])[1]["statuses"] == 8
        release(link, computation)


def test_jobs_of_a_computation_that_is_not_loaded_come_back(node: Daemon, psk: bytes) -> None:
    with scheduler_of(node, psk) as link:
        computation = os.urandom(8)
        link.send("Run", computation=computation, jobs=[1], attempts=[3], arguments=[b""])
        why, back = link.receive("Prepared", "Returned"), link.receive("Prepared", "Returned")
        assert (why[0], why[1]["for_now"], bool(why[1]["error"])) == ("Prepared", True, True)
        assert back == ("Returned", {"computation": computation, "jobs": [1], "attempts": [3]})
        link.send("Release", computation=computation)
        assert link.receive("Released")[1]["computation"] == computation


PLAIN_VALUES = [(1, 2.5, "ä"), {"a": [None, True]}, {1, 2}, frozenset((b"x",)), 2**80, 1j, bytearray(b"b"), b"", None]


def test_plain_results_come_without_a_pickle(node: Daemon, psk: bytes) -> None:
    import copy

    import numpy

    with scheduler_of(node, psk) as link:
        body = payloads.dump((copy.copy, {}, None, None))
        computation = prepared(link, [], body=body, name="copy", results="plain")
        values = [*PLAIN_VALUES, numpy.arange(12.0).reshape(3, 4)]
        found = run(link, computation, [payloads.dump(((value,), {})) for value in values])
        *results, array = [found[job]["results"] for job in sorted(found)]
        read = [payloads.load_plain(each) if each else None for each in results]
        assert [(type(each), each) for each in read] == [(type(each), each) for each in PLAIN_VALUES]
        assert numpy.array_equal(payloads.load_plain(array), values[-1])
        release(link, computation)


def test_a_chunk_of_calls_is_one_job(node: Daemon, psk: bytes) -> None:
    with scheduler_of(node, psk) as link:
        computation = prepared(link, [], body=payloads.dump((math.sqrt, {}, None, None)))
        calls = [payloads.dump(((value,), {})) for value in (4.0, -1.0, 16.0)]
        row = run(link, computation, [b"\1" + payloads.msgpack.packb([0, calls])])[1]
        results, failures = payloads.msgpack.unpackb(row["results"][1:])
        assert (row["statuses"], row["results"][0]) == (FINISHED, payloads.CHUNK_OF_CALLS)
        assert [payloads.load(results[place]) for place in (0, 2)] == [2.0, 4.0]
        assert [place for place, _ in failures] == [1] and "ValueError" in failures[0][1]
        release(link, computation)


def test_a_visitor_sees_how_a_node_stands(node: Daemon, psk: bytes) -> None:
    with Link.connect(node.place, psk, "visitor>node") as link:
        link.introduce("visitor")
        link.send("StatusRequest", computation=bytes(8), question=1)
        link.send("OverviewRequest", question=5)
        overview = link.receive("Overview")[1]
        assert overview["question"] == 5 and len(overview["nodes"]) == 1


# Over TLS


def certified(tmp_path: Path) -> tuple[str, tuple[str, ...]]:
    """A certificate file, and the options of a daemon that has it."""
    certfile, keyfile = make_certificate(str(tmp_path), "localhost")
    return certfile, ("--certfile", certfile, "--keyfile", keyfile)


def test_all_of_it_goes_over_tls(start_node: Start, psk: bytes, tmp_path: Path) -> None:
    certfile, options = certified(tmp_path)
    with scheduler_of(start_node("--cpus", "1", *options), psk, certfile=certfile) as link:
        about = {"kind": "program", "name": "greet", "files": [described("greet", SCRIPT)]}
        computation = prepared(link, [SCRIPT], **about)
        check_program(run(link, computation, [payloads.dump(("hello", "world"))])[1])
        release(link, computation)


def test_who_speaks_without_tls_gets_an_alert(start_node: Start, psk: bytes, tmp_path: Path) -> None:
    node = start_node("--cpus", "1", *certified(tmp_path)[1])
    first = Initiator(psk, "scheduler>node", now_ms()).first
    assert answer_to(node, first) == TLS_ALERT
    late = Initiator(psk, "scheduler>node", now_ms() - 3_700_000).first
    assert len(answer_to(node, late)) == 80
    assert answer_to(node, Initiator(bytes(32), "scheduler>node", now_ms()).first) == b""


# As a client, through a real shared scheduler


@pytest.fixture
def client(start_scheduler: Start, start_node: Start, psk: bytes) -> Iterator[Link]:
    node = start_node("--cpus", "1")
    scheduler = start_scheduler("-n", f"{node.place[0]}:{node.place[1]}")
    with Link.connect(scheduler.place, psk, "client>scheduler") as link:
        link.introduce("client", pulse=5.0)
        link.send("Resume", computations=[], jobs=[])
        link.receive("Hello")
        assert link.hello["role"] == "scheduler"
        yield link


def opened(link: Link, **fields: Any) -> bytes:
    """A new computation; its id."""
    about = preparation(**fields)
    link.send("Open", computation=about["computation"], nodes=["*"], reentrant=False)
    link.send("Prepare", **about)
    return bytes(about["computation"])


def test_a_program_and_a_function_run_through_a_shared_scheduler(client: Link) -> None:
    files = {"files": [described("greet", SCRIPT)], "contents": [FileContents(SCRIPT)]}
    program = opened(client, kind="program", name="greet", **files)
    client.send("Run", computation=program, jobs=[1], attempts=[1], arguments=[payloads.dump(("hello", "world"))])
    assert client.receive("Accepted")[1]["jobs"] == [1]
    check_program(outcomes(client, program, 1)[1])
    function = opened(client, body=payloads.dump((math.sqrt, {}, None, None)), name="sqrt")
    arguments = [payloads.dump(((float(number),), {})) for number in range(50)]
    found = run(client, function, arguments)
    assert [payloads.load(found[job]["results"]) for job in range(1, 51)] == [math.sqrt(n) for n in range(50)]
    client.send("Release", computation=program)
    client.receive("Released")
    release(client, function)


def test_a_cancel_behind_a_long_job_is_not_lost(client: Link) -> None:
    computation = opened(client, body=payloads.dump((len, {}, None, None)), name="len")
    arguments = [payloads.dump(((os.urandom(3_000_000),), {}))]
    client.send("Run", computation=computation, jobs=[1], attempts=[1], arguments=arguments)
    client.send("Cancel", follows=True, computation=computation, jobs=[1], attempts=[0])
    assert outcomes(client, computation, 1)[1]["statuses"] in (8, FINISHED)
    release(client, computation)


@pytest.mark.parametrize("watches", [False, True])
def test_events_come_with_and_without_watches(client: Link, watches: bool) -> None:
    about = preparation(body=payloads.dump((math.sqrt, {}, None, None)))
    client.send("Open", computation=about["computation"], nodes=["*"], reentrant=False, watches=watches)
    client.send("Prepare", **about)
    assert client.receive("Event")[1]["what"] == 4
    if watches:
        assert client.receive("Event")[1]["what"] == 17
    client.send("Release", computation=about["computation"])
    while (event := client.receive("Event", "Released"))[0] == "Event" and event[1]["what"] == 17:
        pass
    assert event[1].get("what") == 16


def test_orders_and_questions_are_answered(client: Link) -> None:
    computation = opened(client, body=payloads.dump((math.sqrt, {}, None, None)))
    node = client.receive("Event")[1]["node"]
    order: Fields = {"computation": computation, "node": node, "value": 0.0}
    for question, (word, error) in enumerate([("jobs", False), ("deallocate", False), ("dance", True)]):
        client.send("NodeCommand", question=question, word=word, **order)
        reply = client.receive("Reply")[1]
        assert (reply["question"], bool(reply["error"])) == (question, error)
    client.send("StatusRequest", computation=computation, question=9)
    assert client.receive("Status")[1]["question"] == 9
    client.send("OverviewRequest", question=10)
    assert client.receive("Overview")[1]["question"] == 10
    release(client, computation)


def test_what_was_not_collected_comes_again_after_resume(start_scheduler: Start, start_node: Start, psk: bytes) -> None:
    node, identity = start_node("--cpus", "1"), Identity()
    place = start_scheduler("-n", f"{node.place[0]}:{node.place[1]}").place
    with Link.connect(place, psk, "client>scheduler", identity) as link:
        link.introduce("client")
        link.send("Resume", computations=[], jobs=[])
        computation = opened(link, body=payloads.dump((math.sqrt, {}, None, None)))
        link.send("Run", computation=computation, jobs=[1], attempts=[1], arguments=[payloads.dump(((9.0,), {}))])
        link.receive("Ended")
    with Link.connect(place, psk, "client>scheduler", identity) as link:
        link.introduce("client")
        unknown = os.urandom(8)
        link.send("Resume", computations=[unknown, computation], jobs=[[3], [1, 2]])
        found = {each[1]["computation"]: each[1] for each in (link.receive("Unknown"), link.receive("Unknown"))}
        assert (found[computation]["jobs"], found[computation]["all"]) == ([2], False)
        assert (found[unknown]["jobs"], found[unknown]["all"]) == ([3], True)
        assert payloads.load(outcomes(link, computation, 1)[1]["results"]) == 3.0
        release(link, computation)


# As a node, for a real cluster


class IndependentNode:
    """A process of `tests.independent.node`."""

    def __init__(self, secret_file: str) -> None:
        command = [sys.executable, "-m", "tests.independent.node", secret_file]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        host, _, port = self.line("ready").rpartition(":")
        self.place = (host, int(port))

    def line(self, word: str) -> str:
        assert self.process.stdout is not None
        first, _, rest = self.process.stdout.readline().rstrip("\n").partition(" ")
        assert first == word
        return rest


@pytest.fixture
def independent_node(secret_file: str) -> Iterator[IndependentNode]:
    node = IndependentNode(secret_file)
    with ended(node.process):
        yield node


def test_a_cluster_runs_functions_on_an_independent_node(independent_node: IndependentNode, secret_file: str) -> None:
    with JobCluster(math.factorial, nodes=[independent_node.place], secret_file=secret_file) as made:
        jobs = [made.submit(number) for number in range(50)]
        assert [job() for job in jobs] == [math.factorial(number) for number in range(50)]
        failed = made.submit(-1)
        assert failed() is None and "ValueError" in failed.exception
        assert list(made.map(range(200))) == [math.factorial(number) for number in range(200)]
    # It has needed nothing of gdispy, not even to unpickle.
    assert independent_node.line("closed") == ""


def test_a_cluster_runs_a_program_on_an_independent_node(
    independent_node: IndependentNode, secret_file: str, tmp_path: Path
) -> None:
    path = tmp_path / "greet"
    path.write_bytes(SCRIPT)
    path.chmod(0o700)
    with JobCluster(str(path), nodes=[independent_node.place], secret_file=secret_file) as made:
        job = made.submit("hello", "world")
        assert job() == 3
        assert (job.stdout, job.stderr) == (b"hello world of %d\n" % job._number, b"trouble\n")


def test_large_arguments_and_results_of_a_cluster(independent_node: IndependentNode, secret_file: str) -> None:
    data = os.urandom(5_000_000)
    with JobCluster(bytes.upper, nodes=[independent_node.place], secret_file=secret_file) as made:
        assert made.submit(data)() == data.upper()


def test_a_cut_connection_to_an_independent_node_loses_nothing(
    independent_node: IndependentNode, secret_file: str
) -> None:
    with Proxy(independent_node.place) as proxy:
        proxy.cut_after = 2_000_000
        with JobCluster(bytes.upper, nodes=[proxy.place], secret_file=secret_file, reentrant=True) as made:
            parts = [os.urandom(300_000) for _ in range(12)]
            jobs = [made.submit(part) for part in parts]
            # A message with all arguments is longer than what passes: it would never arrive.
            eventually(lambda: proxy.connections >= 2)
            proxy.cut_after = 0
            assert made.wait(60), made.status().problems
            assert [job.result for job in jobs] == [part.upper() for part in parts]
        assert proxy.connections >= 2


# Violations, on a real node and a real scheduler


def answer_to(daemon: Daemon, *pieces: bytes) -> bytes:
    """What comes of a connection that sends these bytes, before it is closed."""
    data = b""
    with socket.create_connection(daemon.place, 20) as sock, contextlib.suppress(ConnectionError):
        for piece in pieces:
            sock.sendall(piece)
        while more := sock.recv(65_536):
            data += more
    return data


def test_violations_of_the_handshake_are_answered_as_the_document_says(node: Daemon, psk: bytes) -> None:
    good = Initiator(psk, "scheduler>node", now_ms()).first
    wrong = [Initiator(psk, "client>scheduler", now_ms()).first, Initiator(bytes(32), "scheduler>node", now_ms()).first]
    wrong += [bytes.fromhex(entry["bytes"][0]) for entry in REFUSED if entry["no"] == 1]
    wrong += [good[:20] + bytes([good[20] ^ 1]) + good[21:], b"\x16\3\1\2\0\1\0\1\xfc\3\3" + bytes(600)]
    for first in wrong:
        assert answer_to(node, first) == b"", first.hex()
    assert answer_to(node, b"gdispy\0\1" + bytes(56)) == b"gdispy\0\2\x050.1.0"
    late = Initiator(psk, "scheduler>node", now_ms() - 3_700_000)
    answer = answer_to(node, late.first)
    with pytest.raises(Refused, match="the clocks differ"):
        late.finish(answer)
    # Remembered, whatever its time.
    assert answer_to(node, late.first) == b""
    with Link.connect(node.place, psk, "visitor>node") as link:
        link.write(b"\0\0\0\x10")
        with pytest.raises(Closed, match=r"^$"):
            link.receive()


@pytest.mark.parametrize("damage", ["length", "key", "repeated", "former key"])
def test_frames_that_do_not_open_end_the_connection_without_a_word(node: Daemon, psk: bytes, damage: str) -> None:
    with Link.connect(node.place, psk, "visitor>node") as link:
        link.introduce("visitor")
        link.receive("Hello")
        sealer = link._sealer
        if damage == "length":
            link.write((65_553).to_bytes(4, "big"))
        elif damage == "key":
            link.write(frames.Sealer(bytes(32)).frame(b"\2\1"))
        elif damage == "repeated":
            frame = sealer.frame(b"\2\1")
            link.write(frame + frame)
        else:
            former = sealer._direction.key
            link.chunk(b"\5")
            sealer._direction.key = former
            link.chunk(b"\2\1")
        with pytest.raises(Closed, match=r"^$"):
            link.receive()


def numbered(chunk: bytes, count: int) -> list[bytes]:
    return [chunk[:1] + number.to_bytes(4, "big") + chunk[5:] for number in range(count)]


def violating(entry: dict[str, Any]) -> list[bytes]:
    """The chunks of a violation."""
    texts = entry["bytes"]
    if entry["stage"] == "streams":
        return numbered(bytes_of(texts[1]), int(texts[0]))
    if entry["stage"] == "message":
        return list(frames.pieces(1, bytes_of(texts[0]), frames.LONG_MESSAGE))
    return list(map(bytes_of, texts))


#: A hundred thousand files would take the node too long.
WITHIN = [each for each in REFUSED if each["stage"] in ("chunks", "streams", "message", "node")]
WITHIN = [each for each in WITHIN if each["bytes"][0] != "131073"]


@pytest.mark.parametrize("entry", WITHIN, ids=lambda entry: f"{entry['no']}: {entry['what']}")
def test_violations_within_frames_are_refused_with_a_reason(node: Daemon, psk: bytes, entry: dict[str, Any]) -> None:
    with scheduler_of(node, psk) as link:
        with contextlib.suppress(ConnectionError):
            for chunk in violating(entry):
                link.chunk(chunk)
        with pytest.raises(Closed, match=r"^a message is refused: "):
            while True:
                link.receive(within=10)


@pytest.mark.parametrize("roles", ["scheduler>node", "visitor>node", "client>scheduler", "node>scheduler"])
@pytest.mark.parametrize("what", ["another message", "another proof", "no proof", "another instance"])
def test_who_does_not_say_hello_is_refused_with_a_reason(
    node: Daemon, start_scheduler: Start, psk: bytes, roles: str, what: str
) -> None:
    daemon = node if roles.endswith("node") else start_scheduler("-n", "127.0.0.1:1")
    role = {"client": "client", "scheduler": "scheduler", "visitor": "visitor", "node": "node"}[roles.partition(">")[0]]
    with Link.connect(daemon.place, psk, roles) as link:
        fields: Fields = {"role": role, "instance": link.identity.instance, "name": "", "version": "", "python": ""}
        fields |= {"platform": "", "cpus": 0, "address": "", "pulse": 0.0}
        if what == "another message":
            link.send("OverviewRequest", question=1)
        elif what == "another proof":
            link.send("Hello", **fields, proof=link.identity.proof(bytes(32)))
        elif what == "no proof":
            link.send("Hello", **fields)
        else:
            fields["instance"] = bytes(16)
            link.send("Hello", **fields, proof=link.identity.proof(link._keys.own_binding))
        with pytest.raises(Closed, match=r"^a message is refused: "):
            link.receive("Overview", within=10)


def test_violations_of_a_client_are_refused_with_a_reason(
    start_scheduler: Start, start_node: Start, psk: bytes
) -> None:
    node = start_node("--cpus", "1")
    scheduler = start_scheduler("-n", f"{node.place[0]}:{node.place[1]}")

    def client() -> Link:
        link = Link.connect(scheduler.place, psk, "client>scheduler")
        link.introduce("client")
        link.send("Resume", computations=[], jobs=[])
        return link

    with client() as first, client() as second, client() as third, client() as fourth:
        computation = opened(first, body=payloads.dump((math.sqrt, {}, None, None)))
        first.receive("Event")
        second.send("Open", computation=computation, nodes=["*"], reentrant=False)
        third.send("Limit", computation=computation, own=1, total=1)
        first.send("Run", computation=computation, jobs=[1, 1], attempts=[1, 1], arguments=[b"", b""])
        for _ in range(33):
            fourth.send("Resume", computations=[], jobs=[], more=True)
        reasons = ("names a job twice", "another client", "takes no Limit", "too many parts")
        for link, reason in zip((first, second, third, fourth), reasons, strict=True):
            with pytest.raises(Closed, match=f"^a message is refused: .*{reason}"):
                while True:
                    link.receive(within=10)


def test_an_independent_peer_refuses_with_a_reason_too(independent_node: IndependentNode, psk: bytes) -> None:
    for chunk in (b"\6", b"\0\x80", b"\0" + payloads.msgpack.packb([14, bytes(8)])):
        with Link.connect(independent_node.place, psk, "scheduler>node") as link:
            link.introduce("scheduler")
            link.receive("Inventory")
            link.chunk(chunk)
            with pytest.raises(Closed, match=r"^a message is refused: "):
                link.receive()
