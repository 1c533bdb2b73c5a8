"""What somebody without the secret can do to a node: nothing. (Faults 1-7, 14, 17 and 18.)"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import gevent
import pytest
from gevent.event import AsyncResult

from gdispy import ConfigError, JobCluster, SecretError, generate_secret
from gdispy.config import VERSION
from gdispy.net import connect
from gdispy.protocol.handshake import FIRST_BYTES, MAGIC, SECOND_BYTES, Initiator
from gdispy.protocol.heartbeat import Heartbeat
from gdispy.protocol.identity import SEED_BYTES, Identity
from gdispy.protocol.messages import Hello
from gdispy.protocol.roles import SCHEDULER_TO_NODE
from gdispy.protocol.wire import Bye, Receiver, Sender, channel
from gdispy.transport.connection import Connection, Handlers, any_sink
from gdispy.transport.credentials import find_secret
from tests.support.daemons import Daemon, alive
from tests.support.waiting import eventually

Start = Callable[..., Daemon]


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def until_closed(sock: socket.socket, within: float) -> bytes:
    """What comes before the other side closes; fails if it does not."""
    sock.settimeout(within)
    data = b""
    try:
        while more := sock.recv(4096):
            data += more
    except ConnectionResetError:
        pass
    return data


def works(daemon: Daemon, secret_file: str) -> None:
    with JobCluster(abs, nodes=[daemon.place], secret_file=secret_file) as made:
        job = made.submit(-2)
        assert job.wait(10) and job.result == 2, made.status().problems


@pytest.mark.parametrize(
    "sent",
    [
        os.urandom(4096),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        bytes.fromhex("16030100f8010000f40303") + os.urandom(240),
        MAGIC + os.urandom(200),
    ],
    ids=["random", "http", "tls", "magic"],
)
def test_bytes_that_mean_nothing_get_no_answer(node: Daemon, secret_file: str, sent: bytes) -> None:
    before = resident(node.pid)
    lines, began = len(node.log.read_text().splitlines()), time.monotonic()
    for _ in range(50):
        with socket.create_connection(node.place) as sock:
            sock.sendall(sent)
            assert until_closed(sock, 10) == b""
    assert resident(node.pid) - before < 4_000_000
    # One line each second.
    assert len(node.log.read_text().splitlines()) - lines <= 5 + time.monotonic() - began
    works(node, secret_file)


def test_another_version_is_told_both(node: Daemon) -> None:
    with socket.create_connection(node.place) as sock:
        sock.sendall(b"gdispy" + (99).to_bytes(2, "big") + bytes(56))
        assert until_closed(sock, 10) == MAGIC + bytes([len(VERSION)]) + VERSION.encode()
    eventually(lambda: "version 99" in node.log.read_text())


def test_a_client_of_another_version_of_the_node_says_both() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        JobCluster(abs, nodes=[server.getsockname()], insecure=True) as made,
        server.accept()[0] as peer,
    ):
        peer.recv(64)
        peer.sendall(b"gdispy" + (7).to_bytes(2, "big"))
        problem = eventually(lambda: [each for each in made.status().problems if "version" in each])[0]
    assert "version 7" in problem and "version 2" in problem


def test_a_thousand_silent_connections_keep_nobody_out(start_node: Start, secret_file: str) -> None:
    daemon = start_node("--cpus", "1")
    crowd = [socket.create_connection(daemon.place) for _ in range(1000)]
    try:
        began = time.monotonic()
        works(daemon, secret_file)
        assert time.monotonic() - began < 2
        eventually(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) < 128 + 60)
    finally:
        for sock in crowd:
            sock.close()


@pytest.mark.parametrize(("words", "least", "most"), [((), 9, 14), (("--msg_timeout", "2"), 1.9, 6)])
def test_a_handshake_byte_by_byte_is_ended_in_time(
    words: tuple[str, ...], least: float, most: float, start_node: Start, secret_file: str
) -> None:
    node = start_node("--cpus", "1", *words)
    first = Initiator(find_secret("", secret_file).for_tcp(), SCHEDULER_TO_NODE, os.urandom(32), time.time()).first
    began = time.monotonic()
    with socket.create_connection(node.place) as sock:
        sock.settimeout(3)
        for byte in first:
            try:
                sock.sendall(bytes([byte]))
                assert sock.recv(1) == b""
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert least < time.monotonic() - began < most


def test_a_wrong_secret_is_named_within_a_second_and_tried_once_more_only(start_node: Start) -> None:
    node = start_node("--cpus", "1")  # its own: the log of a shared one still tells of the strangers of other tests
    with JobCluster(abs, nodes=[node.place], secret=generate_secret()) as made:
        began = time.monotonic()
        eventually(lambda: "secret" in " ".join(made.status().problems), 1)
        assert time.monotonic() - began < 1
        job = made.submit(1)
        assert not job.wait(1.5)
        made.cancel(job)
    # Once more, since the first node may have been killed in the middle of it. The log has a line a second at most.
    assert node.log.read_text().count("refused a connection") in (1, 2)


def test_a_recorded_first_message_opens_nothing(node: Daemon, secret_file: str) -> None:
    first = Initiator(find_secret("", secret_file).for_tcp(), SCHEDULER_TO_NODE, os.urandom(32), time.time()).first
    connected = node.log.read_text().count("connected:")
    answers, began = 0, time.monotonic()
    for _ in range(300):
        with socket.create_connection(node.place) as sock:
            sock.sendall(first)
            sock.settimeout(5)
            try:
                answers += len(sock.recv(SECOND_BYTES)) > 0
            except ConnectionError:
                continue
    # The budget of one address is 40 at once, and 20 each second.
    assert 1 <= answers < 50 + 20 * (time.monotonic() - began)
    assert node.log.read_text().count("connected:") == connected
    eventually(lambda: _can_work(node, secret_file), 20)


def _can_work(daemon: Daemon, secret_file: str) -> bool:
    with JobCluster(abs, nodes=[daemon.place], secret_file=secret_file) as made:
        job = made.submit(-1)
        done = job.wait(3)
        made.cancel(job)
        return done


class Tap:
    """Passes one connection on and records what the client said."""

    def __init__(self, goal: tuple[str, int]) -> None:
        import threading

        self.server = socket.create_server(("127.0.0.1", 0))
        self.place = self.server.getsockname()
        self.said = b""
        self.goal = goal
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        import threading

        with self.server, self.server.accept()[0] as client, socket.create_connection(self.goal) as node:

            def back() -> None:
                with contextlib.suppress(OSError):
                    while data := node.recv(65536):
                        client.sendall(data)

            threading.Thread(target=back, daemon=True).start()
            with contextlib.suppress(OSError):
                while data := client.recv(65536):
                    self.said += data
                    node.sendall(data)


def test_a_recorded_session_sent_again_runs_nothing(node: Daemon, secret_file: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    tap = Tap(node.place)
    with JobCluster(lambda path: open(path, "a").write("x"), nodes=[tap.place], secret_file=secret_file) as made:
        assert made.submit(str(mark))() == 1
    for size in (len(tap.said), FIRST_BYTES + 300):
        with socket.create_connection(node.place) as sock:
            sock.sendall(tap.said[:size])
            answer = until_closed(sock, 10)
            assert len(answer) in (0, SECOND_BYTES)
    assert mark.read_text() == "x"


def connect_as_scheduler(place: tuple[str, int], secret_file: str) -> tuple[socket.socket, Sender]:
    sock, sender, _ = connect_both_ways(place, secret_file)
    return sock, sender


def connect_both_ways(place: tuple[str, int], secret_file: str) -> tuple[socket.socket, Sender, Receiver]:
    """A connection of somebody who has the secret, for sending what no client sends.

    Tried again where it is refused, as by a client: other tests may have used up what the node answers to one address.
    """
    connected: tuple[socket.socket, Sender, Receiver] = eventually(
        lambda: _try_to_connect(place, secret_file), 10, "the node turns everybody away"
    )
    return connected


#: What each connection's end has to sign.
bindings: WeakKeyDictionary[Sender, bytes] = WeakKeyDictionary()


def hello_of(sender: Sender) -> Hello:
    """A good `Hello` of a scheduler."""
    identity = Identity(os.urandom(SEED_BYTES))
    proof = identity.proof(bindings[sender])
    return Hello("scheduler", identity.instance, "test", "0", "3", "linux", 0, "", 0.0, [], 0, proof)


def _try_to_connect(place: tuple[str, int], secret_file: str) -> tuple[socket.socket, Sender, Receiver] | None:
    sock = socket.create_connection(place, timeout=15)
    initiator = Initiator(find_secret("", secret_file).for_tcp(), SCHEDULER_TO_NODE, os.urandom(32), time.time())
    sock.sendall(initiator.first)
    answer = b""
    while len(answer) < SECOND_BYTES and (more := sock.recv(SECOND_BYTES - len(answer))):
        answer += more
    if len(answer) == SECOND_BYTES:
        keys = initiator.finish(answer)
        sender, receiver = channel(keys, any_sink, lambda: None)
        bindings[sender] = keys.own_binding
        return sock, sender, receiver
    sock.close()
    return None


@pytest.mark.parametrize("length", [0, 16, 65_553, 2**32 - 1])
def test_an_impossible_length_ends_the_connection(node: Daemon, secret_file: str, length: int) -> None:
    before = resident(node.pid)
    sock, _ = connect_as_scheduler(node.place, secret_file)
    with sock:
        sock.sendall(struct.pack(">I", length) + bytes(100))
        until_closed(sock, 10)
    assert resident(node.pid) - before < 2_000_000


class Raw:
    """A message of any content, for `Sender.put`."""

    is_first = is_last = False
    shape = __match_args__ = ()

    def __init__(self, values: Any) -> None:
        self._values = values

    def values(self) -> Any:
        return self._values


@pytest.mark.parametrize(
    "values",
    [
        ["nothing"],
        [999, 1, 2],
        [12, b"12345678", [-1], [1], [b""]],
        [12, b"short", [1], [1], [b""]],
        [12, b"12345678", [1, 2], [1], [b""]],
        [1, "scheduler", b"x" * 16, "n", "v", "p", "l", 0, "", float("nan")],
        {"a": 1},
        [[[[]]]],
    ],
    ids=["word", "kind", "negative", "id", "columns", "nan", "map", "nested"],
)
def test_messages_that_make_no_sense_end_that_connection_only(node: Daemon, secret_file: str, values: Any) -> None:
    sock, sender = connect_as_scheduler(node.place, secret_file)
    with sock:
        sender.put(hello_of(sender))
        sender.put(Raw(values))  # type: ignore[arg-type]
        sock.sendall(b"".join(sender.frames()))
        until_closed(sock, 10)
    works(node, secret_file)


def test_who_says_what_is_refused_hears_why(node: Daemon, secret_file: str) -> None:
    sock, sender, receiver = connect_both_ways(node.place, secret_file)
    with sock:
        sender.put(hello_of(sender))
        sender.put(Raw([12, b"12345678", [1, 2], [1], [b""]]))  # type: ignore[arg-type]
        sock.sendall(b"".join(sender.frames()))
        found = receiver.receive(until_closed(sock, 10))
    assert found[-1] == Bye("a message is refused: the columns of Run differ in length")
    works(node, secret_file)


def test_pickles_in_every_field_are_never_opened_by_the_node(node: Daemon, secret_file: str, tmp_path: Path) -> None:
    import pickle

    class Bomb:
        def __reduce__(self) -> Any:
            return (os.system, (f"touch {tmp_path}/opened",))

    bomb = pickle.dumps(Bomb())
    for values in (
        [bomb],
        [1, *[bomb] * 9],
        [12, bomb, [bomb], [bomb], [bomb]],
        [12, b"12345678", [1], [1], [bomb]],
        [13, bomb, [1], [1]],
        [19, b"12345678", bomb, bomb],
    ):
        sock, sender = connect_as_scheduler(node.place, secret_file)
        with sock:
            sender.put(hello_of(sender))
            sender.put(Raw(values))  # type: ignore[arg-type]
            sock.sendall(b"".join(sender.frames()))
            sock.settimeout(0.2)
            try:
                while sock.recv(4096):
                    pass
            except (TimeoutError, ConnectionError):
                pass
    works(node, secret_file)
    assert not (tmp_path / "opened").exists()
    assert alive(node.pid)


def listening(pid: int) -> set[str]:
    """Addresses on which a process listens (TCP) or is bound (UDP)."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            goal = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        if goal.startswith("socket:"):
            inodes.add(goal[8:-1])
    found = set()
    for table, states in (("tcp", {"0A"}), ("udp", {"07"})):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and fields[3] in states:
                address = socket.inet_ntoa(struct.pack("<I", int(fields[1].split(":")[0], 16)))
                found.add(address)
    return found


def test_a_new_secret_and_none_at_all_keep_to_this_machine(start_node: Start, tmp_path: Path) -> None:
    fresh = start_node("--cpus", "1", secret="", env={"XDG_CONFIG_HOME": str(tmp_path / "new"), "GDISPY_IP_ADDR": ""})
    assert all(address.startswith("127.") for address in listening(fresh.pid))
    assert "created a new secret" in fresh.log.read_text()
    insecure = start_node("--cpus", "1", "--insecure", secret="", env={"GDISPY_IP_ADDR": ""})
    assert all(address.startswith("127.") for address in listening(insecure.pid))
    assert "no secret" in insecure.log.read_text()


def test_insecure_is_refused_for_other_addresses(start_node: Start) -> None:
    with pytest.raises(AssertionError, match="only on this machine"):
        start_node("--insecure", "-i", "192.0.2.1", secret="")


def test_secrets_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="damaged"):
        JobCluster(abs, nodes=["127.0.0.1"], secret="gdk1_short")
    with pytest.raises(SecretError, match="cannot be read"):
        JobCluster(abs, nodes=["127.0.0.1"], secret_file=str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="contradict"):
        JobCluster(abs, nodes=["127.0.0.1"], secret="long enough to be one", insecure=True)


def test_secrets_do_not_reach_jobs(start_node: Start, secret_file: str) -> None:
    daemon = start_node("--cpus", "1", secret="", env={"GDISPY_SECRET_FILE": secret_file})
    with JobCluster(lambda: dict(os.environ), nodes=[daemon.place], secret_file=secret_file) as made:
        environment = made.submit()()
    assert not [name for name in environment if name.startswith("GDISPY_SECRET")]


def test_a_node_heard_just_when_it_is_found_silent_is_not_taken_for_silent_for_ever(
    node: Daemon, secret_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would get no jobs any more: it is told late that it is silent, and at once that it is not."""
    told: list[bool] = []
    psk = find_secret("", secret_file).for_tcp()
    handlers = Handlers(lambda *_: None, lambda *_: None, on_silent=lambda connection, silent: told.append(silent))
    made = connect(*node.place, psk, SCHEDULER_TO_NODE, handlers)
    made.start()
    monkeypatch.setattr(Heartbeat, "is_silent", lambda life, now: True)
    made._liveness.check()
    made._take(b"")
    gevent.spawn(lambda: None).join()  # It runs after what was spawned before.
    assert told == [False]
    # Where nothing comes, it is told.
    made._liveness.check()
    gevent.spawn(lambda: None).join()
    assert True in told
    made.close("the test is over")


def test_a_connection_in_which_gdispy_itself_fails_ends_and_says_so(
    node: Daemon, secret_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It would hang without a word if nobody read from it any more."""
    closed: Any = AsyncResult()

    def fail(connection: Connection, messages: list[Any]) -> None:
        raise RuntimeError("what nobody has thought of")

    psk = find_secret("", secret_file).for_tcp()
    made = connect(*node.place, psk, SCHEDULER_TO_NODE, Handlers(fail, lambda connection, reason: closed.set(reason)))
    made.start()
    identity = Identity(os.urandom(SEED_BYTES))
    made.introduce(Hello("scheduler", identity.instance, "made here", VERSION, "3.11", "test", 0, "", 1.0), identity)
    reason = closed.get(timeout=10)
    assert "a defect of gdispy on this side" in reason and "nobody has thought of" in reason
    assert "a defect in a connection" in caplog.text
    works(node, secret_file)
