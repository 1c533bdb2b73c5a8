"""What a visitor is told of jobs."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.job_status import TERMINATED
from gdispy.protocol.messages import Explained, Run
from gdispy.shared_scheduler import job_facts
from gdispy.shared_scheduler.job_facts import FACT_TEXT, FACTS, JobInquiry, facts_of_all
from tests.unit.builders import C, ended, outcome
from tests.unit.shared_scheduler.building import Site

PREFIX = C.hex()[:4]


def asked(site: Site, job: object) -> JobInquiry:
    return JobInquiry(site.rules, [site.proxy], f"{PREFIX}:{job}", 0.0)  # type: ignore[arg-type]


def told(inquiry: JobInquiry) -> dict[str, str]:
    facts = inquiry.facts()
    return dict(zip(facts[::2], facts[1::2], strict=True))


def test_job_that_waits_has_its_reasons() -> None:
    site = Site(cpus=1)
    site.submit(1, 2, 3)
    found = asked(site, 3)
    assert found.node is None
    assert told(found) == {
        "job": f"{PREFIX}:3",
        "computation": f"{PREFIX}: f",
        "client": "lab3 (ann: fit.py), away",
        "state": "waiting",
        "waits for": "a free CPU: 1 of 1 CPUs of 10.0.0.1:51348 are busy, 1 of them with its own jobs",
        "ahead of it": "1 job of this computation",
    }


def test_job_on_a_node_is_what_its_node_says() -> None:
    site = Site()
    site.submit(1)
    found = asked(site, 1)
    assert found.node is site.node and told(found)["problem"] == "the node has not answered within 2 s"
    assert told(found)["state"] == "on a node"
    found.take(site.node, Explained(C, 1, ["on the node", "it waits for a CPU"]))
    assert told(found)["state"] == "on a node" and "problem" not in told(found)
    found.take(site.node, Explained(C, 1, ["running for", "2 s"]))
    assert told(found)["state"] == "running" and told(found)["node"] == "node1 at 10.0.0.1:51348"


def test_answer_of_a_node_is_bounded() -> None:
    site = Site()
    site.submit(1)
    found = asked(site, 1)
    found.take(site.node, Explained(C, 1, ["x" * 100_000] * 1001))
    assert len(found.facts()) < FACTS + 20 and max(map(len, found.facts())) <= FACT_TEXT


def test_job_on_a_node_that_is_away_is_not_asked_for() -> None:
    site = Site()
    site.submit(1)
    site.node.peer = None
    found = asked(site, 1)
    assert found.node is None and "the connection to the node broke" in told(found)["problem"]


def test_job_whose_result_waits_for_its_client_tells_how_it_has_ended() -> None:
    site = Site()
    site.proxy.mailbox.incoming(Run(C, [JobId(4)], [1], [b""]))
    row = outcome(4, status=TERMINATED, exception="ValueError: 1\n", start=5.0, end=7.5)
    site.proxy.mailbox.outgoing(ended(row, address="10.0.0.1"))
    facts = told(asked(site, 4))
    assert facts["state"] == "ended; its client has not taken the result yet"
    assert (facts["status"], facts["node"], facts["took"], facts["error"]) == (
        *("Terminated", "10.0.0.1", "2.500 s"),
        "ValueError: 1",
    )


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (f"{PREFIX}:99", f"computation {PREFIX} has no job 99 any more, or not yet"),
        ("dead:1", "no computation here begins with dead"),
        ("nonsense", "'nonsense' is not the name of a job"),
    ],
)
def test_unknown_job_is_an_error(name: str, error: str) -> None:
    site = Site()
    found = JobInquiry(site.rules, [site.proxy], name, 0.0)  # type: ignore[arg-type]
    assert found.error.startswith(error) and found.node is None


def test_job_0_stands_for_the_computation() -> None:
    site = Site(cpus=1)
    site.submit(1, 2, 3)
    facts = told(asked(site, 0))
    assert facts["jobs"] == "2 waiting, 1 on nodes" and "state" not in facts and "job" not in facts


def test_computations_beyond_a_number_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(cpus=1)
    for number in range(5):
        site.rules.open(ComputationId(bytes([number]) * 8))
    names: Any = dict.fromkeys(site.rules.state.computations, ("abcd", ""))
    rules: Any = site.rules
    assert facts_of_all(rules, names, 0.0).count("computation") == 6
    monkeypatch.setattr(job_facts, "COMPUTATIONS", 2)
    facts = facts_of_all(rules, names, 0.0)
    assert facts.count("computation") == 2 and facts[-2:] == ["left out", "4 other computations"]
