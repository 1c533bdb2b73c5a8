"""Names of both generations of dispy, and what is refused of what a user gives."""

from __future__ import annotations

import functools
import inspect
import logging
from typing import Any

import pytest

import gdispy
from gdispy import ConfigError, DispyNode, DispyNodeAvailInfo, JobCluster
from gdispy.client.parameters import (
    both_names,
    check_plain,
    checked_callback,
    checked_recovery,
    own_names,
    program_call,
)
from gdispy.client.return_patterns import ReturnPatterns
from gdispy.protocol.payload import joined
from gdispy.worker import pickling


@pytest.mark.parametrize(
    ("given", "own"),
    [
        ({"host": "10.0.0.1"}, {"ip_addr": "10.0.0.1"}),
        ({"host": "10.0.0.1", "ip_addr": "10.0.0.1"}, {"ip_addr": "10.0.0.1"}),
        ({"host": None, "ip_addr": "10.0.0.1"}, {"ip_addr": "10.0.0.1"}),
        ({"host": "10.0.0.1", "ip_addr": None}, {"ip_addr": "10.0.0.1"}),
        ({"ext_host": "1.2.3.4"}, {"ext_ip_addr": "1.2.3.4"}),
        ({"job_status": print}, {"callback": print}),
        ({"job_status": None, "callback": print}, {"callback": print}),
        ({"recover_file": None}, {}),
        ({"recover_file": "here"}, {"fault_recover": "here"}),
        ({"dispy_port": 9700}, {"port": 9700, "node_port": 9701}),
        ({"dispy_port": 9700, "node_port": 9701}, {"port": 9700, "node_port": 9701}),
        ({"dispy_port": None}, {}),
        ({"dispy_port": "9700"}, {"port": 9700, "node_port": 9701}),
        ({"poll_interval": "10"}, {}),
        ({"poll_interval": 0}, {}),
        ({"poll_interval": 5}, {}),
        ({"poll_interval": 1000.0}, {}),
        ({"poll_interval": None}, {}),
        ({"ipv4_udp_multicast": False}, {"ipv4_udp_multicast": False}),
        ({"nodes": ["a"], "anything": 1}, {"nodes": ["a"], "anything": 1}),
    ],
)
def test_names_of_both_generations_become_ours(given: dict[str, Any], own: dict[str, Any]) -> None:
    before = dict(given)
    assert own_names(given) == own
    assert given == before


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"host": "10.0.0.1", "ip_addr": "10.0.0.2"}, "host and ip_addr are two names of the same parameter"),
        ({"ext_host": "a", "ext_ip_addr": "b"}, "ext_host and ext_ip_addr"),
        ({"host": [10]}, "host must be text, not int"),
        ({"host": ["192.0.2.77", "192.0.2.78"]}, "this machine has none of the addresses 192.0.2.77, 192.0.2.78"),
        ({"ext_host": 5}, "ext_host must be text, not int"),
        ({"recover_file": "a", "fault_recover": "b"}, "recover_file and fault_recover"),
        ({"dispy_port": 9700, "port": 9701}, "dispy_port=9700 means port=9700, but port is 9701"),
        ({"dispy_port": 9700, "node_port": 51348}, "dispy_port=9700 means node_port=9701, but node_port is 51348"),
        ({"dispy_port": "port"}, "dispy_port must be a whole number"),
        ({"dispy_port": 65535}, "dispy_port must be a whole number"),
        ({"dispy_port": 0}, "dispy_port must be a whole number"),
        ({"dispy_port": True}, "dispy_port must be a whole number"),
        ({"poll_interval": 4.9}, "poll_interval must be a number of seconds from 5 to 1000"),
        ({"poll_interval": 1001}, "poll_interval"),
        ({"poll_interval": "often"}, "poll_interval"),
        ({"ext_host": "0.0.0.0"}, "is not an address that other machines can connect to"),
        ({"ext_host": "a:b"}, "not a port"),
    ],
)
def test_contradictions_and_what_cannot_be_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        own_names(given)


def test_of_both_callbacks_the_later_name_wins_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert own_names({"job_status": print, "callback": len}) == {"callback": print}
    assert "only job_status is called" in caplog.text
    caplog.clear()
    own_names({"job_status": print, "callback": print})
    assert caplog.text == ""


class Taking:
    @both_names
    def __init__(
        self,
        computation: Any,
        ip_addr: str | None = None,
        callback: Any = None,
        loglevel: int | None = None,
        cleanup: Any = True,
        reentrant: bool = False,
        secret: str = "",
    ) -> None:
        """What it is for."""
        self.given = (computation, ip_addr, callback, loglevel, cleanup, reentrant, secret)


def test_what_is_decorated_takes_both_names_and_looks_as_before() -> None:
    assert Taking(abs, host="here", job_status=print).given == (abs, "here", print, None, True, False, "")
    assert Taking(abs, "here", len, logging.INFO, False, True, "s").given == (
        *(abs, "here", len, logging.INFO, False, True, "s"),
    )
    assert Taking.__init__.__doc__ == "What it is for."
    assert "callback" in inspect.signature(JobCluster).parameters
    assert list(inspect.signature(Taking).parameters)[:2] == ["computation", "ip_addr"]


@pytest.mark.parametrize("value", [1, None, "yes"])
def test_reentrant_that_is_neither_yes_nor_no_is_ignored_with_a_warning(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert Taking(abs, reentrant=value).given[5] is False
    assert f"{value!r} is ignored" in caplog.text
    assert Taking(abs, None, None, None, True, value).given[5] is False


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ([], None),
        (["127.0.0.5"], "127.0.0.5"),
        (("192.0.2.77", "127.0.0.5", "127.0.0.6"), "127.0.0.5"),
    ],
)
def test_of_several_addresses_the_first_that_is_here_is_used(given: Any, used: str | None) -> None:
    assert Taking(abs, ip_addr=given).given[1] == Taking(abs, host=given).given[1] == used


@pytest.mark.parametrize("name", ["ext_ip_addr", "ext_host"])
def test_of_several_addresses_to_announce_the_first_is_taken(name: str, caplog: pytest.LogCaptureFixture) -> None:
    class Announcing:
        @both_names
        def __init__(self, ext_ip_addr: str | None = None) -> None:
            self.announced = ext_ip_addr

    assert Announcing(**{name: []}).announced is None
    assert Announcing(**{name: ["192.0.2.7"]}).announced == "192.0.2.7" and not caplog.text
    assert Announcing(**{name: ("192.0.2.7", "192.0.2.8")}).announced == "192.0.2.7"
    assert "only the first of several addresses is announced, 192.0.2.7" in caplog.text


@pytest.mark.parametrize("given", [{"no_such": 1}, {"computation": abs}, {"host": "a", "Host": "a"}])
def test_unknown_keywords_are_pythons_own_error(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Taking(abs, **given)


def no_arguments_by_name(directory: str, *, only_by_name: int) -> None:
    """Cannot be called as nodes call."""


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"loglevel": "DEBUG"}, "loglevel must be a whole number, such as gdispy.logger.DEBUG, not 'DEBUG'"),
        ({"loglevel": True}, "loglevel"),
        ({"ip_addr": 5}, "ip_addr must be text, not int"),
        ({"secret": b"bytes"}, "secret must be text, not bytes"),
        ({"cleanup": 2}, "cleanup must be a function, not int"),
        (
            {"cleanup": no_arguments_by_name},
            "cleanup is called with positional arguments, but only_by_name is keyword-only",
        ),
    ],
)
def test_plain_parameters_of_a_wrong_kind_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Taking(abs, **given)


@pytest.mark.parametrize("cleanup", [True, False, print, functools.partial(print, 1), lambda *args: 0])
def test_cleanup_may_be_a_function(cleanup: Any) -> None:
    assert Taking(abs, cleanup=cleanup).given[4] is cleanup


def test_a_cluster_refuses_before_anything_is_started() -> None:
    for given, told in (({"ip_addr": 5}, "ip_addr"), ({"host": "a", "ip_addr": "b"}, "two names")):
        with pytest.raises(ConfigError, match=told):
            JobCluster(abs, nodes=["127.0.0.1"], insecure=True, **given)
    with pytest.raises(TypeError, match="unexpected"):
        JobCluster(abs, nodes=["127.0.0.1"], insecure=True, unexpected=1)


# Names of the package


def set_ones(given: dict[str, Any]) -> dict[str, Any]:
    """The parameters that were given, of the local names of a method."""
    return {name: value for name, value in given.items() if name not in ("self", "rest") and value}


class Placed:
    """Takes what `JobCluster` takes by place, in the order of the first version."""

    @both_names
    def __init__(
        self,
        computation: Any,
        nodes: Any = None,
        depends: Any = (),
        callback: Any = None,
        ip_addr: Any = None,
        ext_ip_addr: Any = None,
        port: Any = None,
        node_port: Any = None,
        *,
        cluster_status: Any = None,
        pulse_interval: Any = None,
        **rest: Any,
    ) -> None:
        self.given = set_ones({**locals(), **rest})


class SharedPlaced:
    @both_names
    def __init__(
        self,
        computation: Any,
        nodes: Any = None,
        depends: Any = (),
        callback: Any = None,
        ip_addr: Any = None,
        port: Any = None,
        scheduler_node: Any = None,
        scheduler_port: Any = None,
        ext_ip_addr: Any = None,
        **rest: Any,
    ) -> None:
        self.given = set_ones({**locals(), **rest})


def on_status(status: Any, node: Any, job: Any) -> None: ...


@pytest.mark.parametrize(
    ("args", "rest"),
    [
        (([], [], print), {"callback": print}),
        (([], [], print, "127.0.0.1", None, 5), {"callback": print, "ip_addr": "127.0.0.1", "port": 5}),
        # Version 4 has cluster_status in the fifth place; a function can mean nothing else there.
        (([], [], None, on_status), {"cluster_status": on_status}),
        (([], [], print, on_status), {"callback": print, "cluster_status": on_status}),
        (
            ([], [], print, on_status, "127.0.0.1", 9700, "10.0.0.5"),
            {"callback": print, "cluster_status": on_status, "ip_addr": "127.0.0.1", "ext_ip_addr": "10.0.0.5",
             "port": 9700, "node_port": 9701},
        ),
    ],
)  # fmt: skip
def test_what_is_given_by_place_is_known_by_its_type(args: tuple[Any, ...], rest: dict[str, Any]) -> None:
    assert Placed(abs, *args).given == {"computation": abs, **rest}


@pytest.mark.parametrize(
    ("args", "rest"),
    [
        (
            (print, "127.0.0.1", 5, "host"),
            {"callback": print, "ip_addr": "127.0.0.1", "port": 5, "scheduler_node": "host"},
        ),
        (
            ("127.0.0.1", 5, "host", 7),
            {"ip_addr": "127.0.0.1", "port": 5, "scheduler_node": "host", "scheduler_port": 7},
        ),
        (("127.0.0.1", None, "host"), {"ip_addr": "127.0.0.1", "scheduler_node": "host"}),
        ((None, None, "host"), {"scheduler_node": "host"}),
        ((None, "127.0.0.1", None, "host"), {"ip_addr": "127.0.0.1", "scheduler_node": "host"}),
        ((None, None, 5, "host"), {"port": 5, "scheduler_node": "host"}),
    ],
)
def test_shared_clusters_take_both_orders(args: tuple[Any, ...], rest: dict[str, Any]) -> None:
    assert SharedPlaced(abs, [], [], *args).given == {"computation": abs, **rest}


def test_what_is_given_twice_or_goes_too_far_by_place_is_refused() -> None:
    with pytest.raises(TypeError, match="cluster_status is given by position and by name"):
        Placed(abs, [], [], None, on_status, cluster_status=on_status)
    with pytest.raises(TypeError, match="17 positional arguments are too many: give those after the 16th by name"):
        Placed(abs, [], [], None, on_status, *[None] * 12)


def test_a_shared_cluster_leaves_intervals_to_its_scheduler(caplog: pytest.LogCaptureFixture) -> None:
    assert own_names({"pulse_interval": 5, "dispy_port": 9700}, True) == {"scheduler_port": 9700}
    assert "pulse_interval is ignored here: it is an option of gdispy-scheduler" in caplog.text


async def coroutine(job: Any) -> None: ...


def generator(job: Any) -> Any:
    yield job


@pytest.mark.parametrize("function", [coroutine, generator])
def test_callbacks_that_would_never_run_are_refused(function: Any) -> None:
    with pytest.raises(ConfigError, match="callback must be a plain function"):
        checked_callback(function)


def test_numbers_may_be_text_as_in_files_of_settings() -> None:
    given = Placed(abs, pulse_interval="2.5", port="80", node_port="81", ipv4_udp_multicast=0, cleanup=0).given
    assert given == {"computation": abs, "pulse_interval": 2.5, "port": 80, "node_port": 81}


def test_ports_that_a_program_sets_in_config_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    config = gdispy.config
    assert (config.client_port(), config.node_port(), config.scheduler_port()) == (51347, 51348, 51347)
    monkeypatch.setattr(config, "DispyPort", 9700)
    assert (config.client_port(), config.node_port(), config.scheduler_port()) == (9700, 9701, 9700)
    monkeypatch.setattr(config, "NodePort", 5000)
    assert (config.client_port(), config.node_port()) == (9700, 5000)
    monkeypatch.setattr(config, "ClientPort", "DispyPort + 1")
    with pytest.raises(ConfigError, match=r"config\.ClientPort must be a whole number from 0 to 65535"):
        JobCluster(abs, nodes=["127.0.0.1"], insecure=True)


@pytest.mark.parametrize("seconds", [0, -1, "10", True, None])
def test_a_time_limit_of_messages_that_makes_no_sense_is_refused(seconds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gdispy.config, "MsgTimeout", seconds)
    with pytest.raises(ConfigError, match=r"config\.MsgTimeout must be a number of seconds above 0"):
        JobCluster(abs, nodes=["127.0.0.1"], insecure=True)


def test_levels_and_settings_are_where_programs_for_dispy_look() -> None:
    for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        assert getattr(gdispy.logger, name) == getattr(logging, name)
    settings = gdispy.config
    assert (settings.ClientPort, settings.NodePort) == (51347, 51348) == (settings.DispyPort, settings.DispyPort + 1)
    assert settings.MaxFileSize == 0 and settings.MsgTimeout > 0
    assert gdispy.__version__ == settings.VERSION
    assert set(gdispy.__all__) <= set(dir(gdispy))
    for name in gdispy.__all__:
        assert getattr(gdispy, name) is not None


def test_what_can_happen_to_nodes_has_dispys_numbers() -> None:
    assert (DispyNode.Initialized, DispyNode.Closed, DispyNode.AvailInfo) == (4, 16, 17)


def test_what_is_free_is_a_record() -> None:
    assert DispyNodeAvailInfo.of([]) is None
    info = DispyNodeAvailInfo.of([50.0, 1e9, 2e9, 100.0])
    assert info is not None and tuple(info) == (50.0, 10**9, 2 * 10**9, 100.0)
    assert vars(info) == {"cpu": 50.0, "memory": 10**9, "disk": 2 * 10**9, "swap": 100.0}
    info.cpu = 7.0
    assert info == DispyNodeAvailInfo(7.0, 10**9, 2 * 10**9, 100.0)


@pytest.mark.parametrize("name", ["secret_file", "certfile", "keyfile", "dest_path", "ip_addr"])
def test_zero_character_in_a_parameter_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must not contain a zero character"):
        check_plain(name, "a\0b")


def test_zero_character_in_the_name_of_a_recovery_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="fault_recover must be"):
        checked_recovery("a\0b", False)


def test_malformed_address_in_the_environment_is_refused_by_the_name_of_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GDISPY_IP_ADDR", "10.0.0.1 10.0.0.2")
    with pytest.raises(ConfigError, match=r"GDISPY_IP_ADDR '10.0.0.1 10.0.0.2': a host name must not contain ' '"):
        JobCluster(abs, nodes=["local"])


def test_returned_files_are_the_last_argument_of_a_program() -> None:
    assert pickling.loads(joined(program_call(("a", 1), {}))) == ["a", "1"]
    payload = joined(program_call(("a", ReturnPatterns(["x/../y"])), {}))
    assert pickling.loads(payload) == {"words": ["a"], "returns": ["y"]}
