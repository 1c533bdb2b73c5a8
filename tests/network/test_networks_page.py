"""docs/networks.md, followed literally: its commands, on hosts with the addresses that it names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.lab import Host, Lab

PAGE = (Path(__file__).parents[2] / "docs" / "networks.md").read_text()
Hosts = dict[str, Host]


def section(title: str) -> list[str]:
    """The lines of the console blocks of a section."""
    text = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    assert blocks, title
    return [line for block in blocks for line in block.splitlines()]


def one_network(lab: Lab) -> Hosts:
    _, *hosts = lab.simple("unused", "client", "one", "two")
    return {host.name: host for host in hosts}


def routed(lab: Lab) -> Hosts:
    near, far = lab.lan(), lab.lan("far")
    router = lab.router("router")
    router.join(near, "10.1.0.1/24")
    router.join(far, "10.2.0.1/24")
    hosts = {name: lab.host(name) for name in ("client", "one", "box")}
    for name, lan, address in (("client", near, "10.1.0.2"), ("one", far, "10.2.0.3"), ("box", far, "10.2.0.2")):
        hosts[name].join(lan, f"{address}/24")
        hosts[name].gateway(address.rpartition(".")[0] + ".1")
    return hosts


def hidden(inside: dict[str, str], outside: str) -> Callable[[Lab], Hosts]:
    def make(lab: Lab) -> Hosts:
        lan, wan = lab.lan(), lab.lan("wan")
        router = lab.router("router", nat="eth1")
        router.join(lan, "10.1.0.1/24")
        router.join(wan, "192.0.2.1/24")
        lab.forward(router, "eth1", 51348, "10.1.0.4:51348")
        hosts = {name: lab.host(name) for name in (*inside, outside)}
        for name, address in inside.items():
            hosts[name].join(lan, f"{address}/24")
            hosts[name].gateway("10.1.0.1")
        hosts[outside].join(wan, "192.0.2.9/24")
        return hosts

    return make


def six(lab: Lab) -> Hosts:
    lan = lab.lan()
    hosts = {name: lab.host(name) for name in ("client", "one")}
    for number, host in enumerate(hosts.values(), 1):
        host.join(lan, f"fd00:1::{number}/64")
    return hosts


@pytest.mark.parametrize(
    ("titles", "make"),
    [
        (["One network", "Listing nodes"], one_network),
        (["Several networks"], routed),
        (["Nodes behind NAT"], hidden({"one": "10.1.0.3", "two": "10.1.0.4"}, "client")),
        (["Programs behind NAT"], hidden({"client": "10.1.0.3"}, "one")),
        (["IPv6"], six),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_commands_do_what_the_page_says(lab: Lab, titles: list[str], make: Callable[[Lab], Hosts]) -> None:
    hosts = make(lab)
    output: list[str] = []
    for title in titles:
        for line in section(title):
            prompt = re.match(r"(\w+)\$ (.*)", line)
            if prompt is None:
                told, wanted = output.pop(0).split(), line.removesuffix("...").split()
                assert (told[: len(wanted)] if line.endswith("...") else told) == wanted
                continue
            assert output == [], f"before {line}"
            output = follow(hosts[prompt[1]], shlex.split(prompt[2]))
    assert output == []


def follow(host: Host, words: list[str]) -> list[str]:
    """Start a daemon, or run a command to its end: the lines that it prints."""
    if words[0] == "gdispy-node":
        host.node(*words[1:])
        return []
    if words[:2] == ["gdispy", "relay"]:
        host.relay(*words[2:])
        return []
    done = host.command(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
