"""TLS around connections: who has the certificate and the secret gets in, all others hear why. (Fault 48.)"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest

from gdispy import ConfigError, JobCluster, SharedJobCluster, fault_recover_jobs
from gdispy.cli.certificate import make_certificate
from gdispy.errors import ConnectFailed, PeerRejected
from gdispy.net import Listener, connect
from gdispy.transport.connection import Handlers
from gdispy.transport.credentials import find_secret
from gdispy.transport.tls import tls_files
from tests.support.daemons import Daemon, run_python, run_script
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

Start = Callable[..., Daemon]
Pair = tuple[str, str]


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_certificate(str(tmp_path_factory.mktemp("tls")), "localhost")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_certificate(str(tmp_path_factory.mktemp("other")), "localhost")


@pytest.fixture
def tls_node(start_node: Start, certified: Pair) -> Daemon:
    return start_node("--cpus", "1", "--certfile", certified[0], "--keyfile", certified[1])


def problem_of(place: Any, secret_file: str, **options: Any) -> str:
    """What a client that cannot get in is told of this place, once that is known."""
    with JobCluster(abs, nodes=[place], secret_file=secret_file, **options) as made:

        def told() -> list[str]:
            lines = [each for each in made.status().problems if str(place[1]) in each]
            return [each for each in lines if "no answer yet" not in each]

        return eventually(told)[0]


def test_jobs_run_over_tls_and_nothing_else_does(tls_node: Daemon, secret_file: str, certified: Pair) -> None:
    seen: list[bytes] = []

    def watch(data: bytes) -> bytes:
        seen.append(data[:8])
        return data

    data = os.urandom(3_000_000)
    with Proxy(tls_node.place) as proxy:
        proxy.change = watch
        options = {"certfile": certified[0], "keyfile": certified[1]}
        with JobCluster(lambda part: part, nodes=[proxy.place], secret_file=secret_file, **options) as made:
            assert made.submit(data)() == data
            jobs = [made.submit(number) for number in range(500)]
            assert [job() for job in jobs] == list(range(500))
    assert seen[0][:2] == b"\x16\x03"
    assert not any(b"gdispy" in each for each in seen)


def test_a_cut_link_loses_nothing(tls_node: Daemon, secret_file: str, certified: Pair) -> None:
    with Proxy(tls_node.place) as proxy:
        proxy.cut_after = 2_000_000
        options = {"certfile": certified[0], "keyfile": certified[1]}
        with JobCluster(lambda part: part, nodes=[proxy.place], secret_file=secret_file, **options) as made:
            parts = [os.urandom(300_000) for _ in range(12)]
            jobs = [made.submit(part) for part in parts]
            assert made.wait(60), made.status().problems
            assert [job.result == part for job, part in zip(jobs, parts, strict=True)] == [True] * 12
        assert proxy.connections >= 2


def test_the_certificate_alone_lets_nobody_in(tls_node: Daemon, certified: Pair, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.touch(0o600)
    wrong.write_text("quite another secret phrase")
    assert "secret differs" in problem_of(tls_node.place, str(wrong), certfile=certified[0], keyfile=certified[1])


def test_a_client_without_a_certificate_is_told_what_is_missing(tls_node: Daemon, secret_file: str) -> None:
    text = problem_of(tls_node.place, secret_file)
    assert "certfile" in text and "TLS" in text and "\n" not in text
    eventually(lambda: "it speaks without TLS" in tls_node.log.read_text())
    assert "Traceback" not in tls_node.log.read_text()


def test_a_node_without_a_certificate_is_named_so(node: Daemon, secret_file: str, certified: Pair) -> None:
    text = problem_of(node.place, secret_file, certfile=certified[0], keyfile=certified[1])
    assert "does not answer in TLS" in text and "certfile" in text
    eventually(lambda: "it speaks TLS, and this side has no certfile" in node.log.read_text())


def test_another_certificate_is_refused_by_name(tls_node: Daemon, secret_file: str, other: Pair) -> None:
    text = problem_of(tls_node.place, secret_file, certfile=other[0], keyfile=other[1])
    assert "is not in" in text and other[0] in text


def test_a_file_with_the_certificates_of_others_opens_all_of_them(
    tls_node: Daemon, secret_file: str, certified: Pair, other: Pair, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(Path(other[0]).read_text() + Path(certified[0]).read_text())
    # No key: nobody connects to this side.
    with JobCluster(abs, nodes=[tls_node.place], secret_file=secret_file, certfile=str(bundle)) as made:
        assert made.submit(-3)() == 3


def test_a_key_within_the_certificates_file_is_found(
    start_node: Start, secret_file: str, certified: Pair, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.touch(0o600)
    both.write_text(Path(certified[0]).read_text() + Path(certified[1]).read_text())
    daemon = start_node("--cpus", "1", "--certfile", str(both))
    with JobCluster(abs, nodes=[daemon.place], secret_file=secret_file, certfile=str(both)) as made:
        assert made.submit(-3)() == 3


def _between(goal: tuple[str, int], its: Pair) -> tuple[socket.socket, tuple[str, int]]:
    """Somebody in between with a certificate of his own, who passes on what he opens."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(*its)
    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_side.check_hostname, client_side.verify_mode = False, ssl.CERT_NONE
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            with (
                server_side.wrap_socket(server.accept()[0], server_side=True) as near,
                client_side.wrap_socket(socket.create_connection(goal)) as far,
            ):
                far.sendall(near.recv(65536))
                near.sendall(far.recv(65536))
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()
    return server, server.getsockname()


def test_somebody_in_between_gets_nowhere_even_where_his_certificate_is_believed(
    tls_node: Daemon, secret_file: str, certified: Pair, other: Pair, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(Path(certified[0]).read_text() + Path(other[0]).read_text())
    server, place = _between(tls_node.place, other)
    psk = find_secret("", secret_file).for_tcp()
    handlers = Handlers(lambda *_: None, lambda *_: None)
    with server, pytest.raises(PeerRejected, match=r"secret differs|does not fit"):
        connect(*place, psk, b"scheduler>node", handlers, tls=tls_files(str(bundle), "", serves=False))
    eventually(lambda: "does not fit the secret" in tls_node.log.read_text())


def test_somebody_in_between_with_another_certificate_is_seen(
    tls_node: Daemon, secret_file: str, certified: Pair, other: Pair
) -> None:
    server, place = _between(tls_node.place, other)
    psk = find_secret("", secret_file).for_tcp()
    with server, pytest.raises(PeerRejected, match="the connection is intercepted"):
        connect(
            *place, psk, b"scheduler>node", Handlers(lambda *_: None, lambda *_: None), tls=tls_files(*certified, True)
        )


def contents(stream: bytes) -> list[int]:
    """The places in a stream of TLS that are within records: of their headers TLS ignores the version."""
    places: list[int] = []
    begin = 0
    while begin < len(stream):
        end = begin + 5 + int.from_bytes(stream[begin + 3 : begin + 5], "big")
        if stream[begin] != 0x14:  # A record for middle boxes only.
            places += range(begin + 5, end)
        begin = end
    return places


def test_no_handshake_with_a_changed_bit_comes_about(tls_node: Daemon, secret_file: str, certified: Pair) -> None:
    psk, tls = find_secret("", secret_file).for_tcp(), tls_files(*certified, True)
    handlers = Handlers(lambda *_: None, lambda *_: None)
    with Proxy(tls_node.place) as proxy:

        def shake(place: int = -1) -> bytes:
            """A handshake in which the byte at this place is changed; what the client has sent."""
            sent = bytearray()

            def change(data: bytes) -> bytes:
                at = place - len(sent)
                sent.extend(data)
                return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] if 0 <= at < len(data) else data

            proxy.change = change
            connection = connect(*proxy.place, psk, b"scheduler>node", handlers, tls=tls)
            connection.start()
            connection.abort("seen")
            return bytes(sent)

        places = contents(shake())
        for place in places[:: len(places) // 30 + 1]:  # An address has no more than 40 attempts at once.
            # A length that is changed makes the node wait for what never comes.
            with pytest.raises((PeerRejected, ConnectFailed, gevent.Timeout)), gevent.Timeout(1):
                shake(place)
        shake()
    assert "Traceback" not in tls_node.log.read_text()


def test_an_expired_certificate_works_with_one_warning(
    start_node: Start, secret_file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = make_certificate(str(tmp_path / "old"), "localhost")
    der = ssl.PEM_cert_to_DER_cert(Path(paths[0]).read_text())
    # Nobody looks at the signature, so the date can be changed.
    end = der.index(b"\x17\x0d", der.index(b"\x17\x0d") + 2) + 2
    Path(paths[0]).write_text(ssl.DER_cert_to_PEM_cert(der[:end] + b"20" + der[end + 2 :]))
    daemon = start_node("--cpus", "1", "--certfile", paths[0], "--keyfile", paths[1])
    assert daemon.log.read_text().count("expired on") == 1
    with JobCluster(abs, nodes=[daemon.place], secret_file=secret_file, certfile=paths[0], keyfile=paths[1]) as made:
        assert made.submit(-3)() == 3
    assert caplog.text.count("expired on") == 1


@pytest.mark.parametrize("old", [ssl.TLSVersion.TLSv1_2])
def test_older_tls_is_refused(tls_node: Daemon, old: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode, context.maximum_version = False, ssl.CERT_NONE, old
    with socket.create_connection(tls_node.place) as sock, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(sock)


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", bytes(300), b"\x16\x03\x01\x00\xf8" + bytes(300)])
def test_strangers_cost_little_and_break_nothing(
    tls_node: Daemon, secret_file: str, certified: Pair, sent: bytes
) -> None:
    for _ in range(20):
        with socket.create_connection(tls_node.place) as sock:
            sock.settimeout(10)
            sock.sendall(sent)
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(100) == b""
    with JobCluster(
        abs, nodes=[tls_node.place], secret_file=secret_file, certfile=certified[0], keyfile=certified[1]
    ) as made:
        assert made.submit(-3)() == 3
    assert "Traceback" not in tls_node.log.read_text()


def test_a_handshake_that_does_not_go_on_is_ended(certified: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdispy.config.MsgTimeout", 0.3)
    tls = tls_files(*certified, True)
    listener = Listener("127.0.0.1", 0, {b"scheduler>node": [bytes(32)]}, bytes(16), lambda *_: None, tls)
    listener.start()
    with socket.create_connection((listener.host, listener.port)) as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")
        sock.setblocking(False)
        began, closed = time.monotonic(), False
        while not closed and time.monotonic() < began + 5:
            gevent.wait(timeout=0.05)
            try:
                closed = sock.recv(10) == b""
            except BlockingIOError:
                continue
    listener.close()
    assert closed and time.monotonic() - began < 4


def test_a_shared_scheduler_has_certificates_of_its_own_on_each_side(
    tls_node: Daemon, start_scheduler: Start, secret_file: str, certified: Pair, other: Pair
) -> None:
    options = ["--node_certfile", certified[0], "--node_keyfile", certified[1]]
    options += ["--cluster_certfile", other[0], "--cluster_keyfile", other[1]]
    scheduler = start_scheduler("-n", f"{tls_node.place[0]}:{tls_node.place[1]}", *options)
    place = f"{scheduler.place[0]}:{scheduler.place[1]}"
    with SharedJobCluster(
        abs, scheduler_node=place, secret_file=secret_file, certfile=other[0], keyfile=other[1]
    ) as made:
        assert made.submit(-3)() == 3
        done = run_script("gdispy", "status", place, "--secret-file", secret_file, "--certfile", other[0])
        assert done.returncode == 0 and str(tls_node.place[1]) in done.stdout.decode()
    done = run_script("gdispy", "status", place, "--secret-file", secret_file)
    assert done.returncode == 1 and b"certfile" in done.stderr


def test_the_command_line_and_local_nodes_use_certificates(certified: Pair) -> None:
    done = run_script("gdispy", "--local", "--certfile", certified[0], "--keyfile", certified[1], "-a", "hello", "echo")
    assert done.returncode == 0 and done.stdout == b"hello\n", done.stderr


def test_a_node_that_comes_by_itself_and_one_that_is_looked_at_use_certificates(
    tls_node: Daemon, start_node: Start, start_scheduler: Start, secret_file: str, certified: Pair
) -> None:
    pair = ["--certfile", certified[0], "--keyfile", certified[1]]
    scheduler = start_scheduler(
        *["-n", "127.0.0.9"], *["--cluster_certfile", certified[0], "--cluster_keyfile", certified[1]]
    )
    place = f"{scheduler.place[0]}:{scheduler.place[1]}"
    start_node("--cpus", "1", "--connect", place, *pair)
    with SharedJobCluster(
        abs, scheduler_node=place, secret_file=secret_file, certfile=certified[0], keyfile=certified[1]
    ) as made:
        assert made.submit(-3).result_or_raise(20) == 3
    words = ["nodes", "--only", f"{tls_node.place[0]}:{tls_node.place[1]}", "--secret-file", secret_file]
    done = run_script("gdispy", *words, "--certfile", certified[0])
    assert done.returncode == 0 and str(tls_node.place[1]) in done.stdout.decode(), done.stderr
    done = run_script("gdispy", *words)
    assert done.returncode == 1 and b"certfile" in done.stdout


CRASHING = """
import os, sys
import gdispy
place, secret_file, certfile, keyfile, path = sys.argv[1:]
tls = {"certfile": certfile, "keyfile": keyfile}
cluster = gdispy.JobCluster(abs, nodes=[place], secret_file=secret_file, fault_recover=path, **tls)
job = cluster.submit(-3)
job.wait(30)
os._exit(9)
"""


def test_jobs_of_a_program_that_crashed_are_recovered_over_tls(
    tls_node: Daemon, secret_file: str, certified: Pair, tmp_path: Path
) -> None:
    path = str(tmp_path / "jobs")
    place = f"{tls_node.place[0]}:{tls_node.place[1]}"
    done = run_python(CRASHING, place, secret_file, *certified, path)
    assert done.returncode == 9, done.stderr
    found = fault_recover_jobs(path, secret_file=secret_file, certfile=certified[0], keyfile=certified[1])
    assert [job.result for job in found] == [3]


# Files


def test_the_command_makes_a_pair_that_nobody_else_can_read(tmp_path: Path) -> None:
    made = tmp_path / "made"
    done = run_script("gdispy", "certificate", "--out", made, "--name", "10.0.0.5")
    assert done.returncode == 0, done.stderr
    certificate, key = map(Path, done.stdout.decode().split())
    assert key.stat().st_mode & 0o777 == 0o600 and certificate.stat().st_mode & 0o777 == 0o644
    assert sorted(each.name for each in made.iterdir()) == sorted([certificate.name, key.name])
    assert tls_files(str(certificate), str(key), True) is not None
    again = run_script("gdispy", "certificate", "--out", made)
    assert again.returncode == 2 and b"already exists" in again.stderr


def test_without_openssl_the_command_says_what_to_do(tmp_path: Path) -> None:
    done = run_script("gdispy", "certificate", "--out", tmp_path, env={**os.environ, "PATH": str(tmp_path)})
    assert done.returncode == 2 and b"apt-get install openssl" in done.stderr


@pytest.mark.parametrize(
    ("certfile", "keyfile", "told"),
    [
        ("", "KEY", "without certfile"),
        ("/no/such/file", "", "cannot be read"),
        ("KEY", "KEY", "does not contain a certificate"),
        ("CERT", "OTHER KEY", "do not match"),
        ("CERT", "", "does not contain a private key"),
        ("CERT", "CERT", "does not contain a private key"),
    ],
)
def test_files_that_cannot_be_used_are_refused_by_name(
    certified: Pair, other: Pair, certfile: str, keyfile: str, told: str
) -> None:
    names = {"CERT": certified[0], "KEY": certified[1], "OTHER KEY": other[1]}
    with pytest.raises(ConfigError, match=told):
        tls_files(names.get(certfile, certfile), names.get(keyfile, keyfile), True)


def test_a_key_with_a_pass_phrase_is_refused_without_asking(certified: Pair, tmp_path: Path) -> None:
    locked = tmp_path / "locked.pem"
    words = ["openssl", "ec", "-in", certified[1], "-aes256", "-passout", "pass:phrase", "-out", str(locked)]
    subprocess.run(words, check=True, capture_output=True)
    with pytest.raises(ConfigError, match="pass phrase"):
        tls_files(certified[0], str(locked), True)


def test_a_node_refuses_files_that_do_not_belong_together(certified: Pair, other: Pair, secret_file: str) -> None:
    words = ["--certfile", certified[0], "--keyfile", other[1], "--secret-file", secret_file]
    done = run_script("gdispy-node", "--daemon", "-p", "0", *words)
    assert done.returncode == 2 and b"do not match" in done.stderr
