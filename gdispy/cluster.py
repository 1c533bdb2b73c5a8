"""JobCluster: the user's side of a computation.

Floor 3. Methods are called in any thread of the user's program; what they do happens in the hub, in
one pump. The nodes are kept by a `Scheduler` in the same process, which clusters with the same
settings share.

Invariants:
1. `submit` never waits for a node.
2. A job's fields are written in the hub only; its end is told once, and then never changes.
3. What the user gave us to call is called outside the hub (`Hub.errand`).
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from gdispy import config, whom
from gdispy.arguments import (
    check_interval,
    checked_callback,
    function_call,
    program_call,
    refuse_what_is_not_there,
    secret_for,
)
from gdispy.computation import is_program, prepare
from gdispy.core import statuses
from gdispy.core.effects import Answer, Closed, Effects, Provide, Resolve, Send, Show, Tell
from gdispy.core.messages import Ask, JobId, Open, Prepare, Standing
from gdispy.core.payloads import Bulk, joined
from gdispy.core.session import Session
from gdispy.errors import ClusterClosed, ConfigError, ConnectFailed, ForkedError
from gdispy.hub import Gate, Hub
from gdispy.job import DispyJob
from gdispy.keys import Secret
from gdispy.local import LocalNode
from gdispy.pump import Pump
from gdispy.scheduler import Scheduler
from gdispy.status import ClusterStatus, DispyNode, table

logger = logging.getLogger("gdispy")

#: Seconds that closing waits for the nodes to say that nothing is left.
RELEASE_LIMIT = 10.0
#: Seconds that a program which ends by an exception takes to leave its nodes.
HASTY_LIMIT = 2.0

_open_clusters: weakref.WeakSet[JobCluster] = weakref.WeakSet()


class _Shared(NamedTuple):
    """A scheduler and the clusters that use it."""

    scheduler: Scheduler
    users: set[int]


_schedulers: dict[tuple[Any, ...], _Shared] = {}


class JobCluster:
    """Runs one function or program, with different arguments each time, on nodes of its own.

    `computation` is a function (or anything that can be called) or the path of a program. `nodes` is a
    list of host names or addresses, with ':port' where it is not 51348, patterns with `*` for nodes
    that are found by broadcast, or 'local' for a private node on this machine; the default is ['*'].
    `depends` lists files, modules, functions and classes that the computation needs on the nodes.
    `callback` is called with a job when it has a provisional result and when it has ended.

    `ip_addr` is the local address to use, `ext_ip_addr` the one to announce behind NAT, `port` where
    this side hears of new nodes, `node_port` where nodes listen. `dest_path` is a directory on the
    nodes that is used again by the next cluster; `cleanup` tells whether files are removed there.
    `pulse_interval` (seconds, 0.1 to 1000) is how often nodes give a sign of life: after three missing
    ones a node gets no new jobs, after six it is lost. `ping_interval` (seconds, 1 to 1000) is how
    often to look for nodes again. With `reentrant`, jobs of a lost node run again elsewhere. `secret`
    is what this program and the nodes share; see `secret_file` and docs/security. `isolation='job'` gives
    each job a process of its own.

    Raises ConfigError, in plain words, for arguments that cannot be used.
    """

    def __init__(
        self,
        computation: Any,
        nodes: Any = None,
        depends: Any = (),
        callback: Callable[[DispyJob], Any] | None = None,
        ip_addr: str | None = None,
        ext_ip_addr: str | None = None,
        port: int | None = None,
        node_port: int | None = None,
        fault_recover: Any = False,
        dest_path: str | None = None,
        loglevel: int | None = None,
        cleanup: bool = True,
        pulse_interval: float | None = None,
        ping_interval: float | None = None,
        reentrant: bool = False,
        secret: str = "",
        keyfile: str | None = None,
        certfile: str | None = None,
        *,
        secret_file: str = "",
        insecure: bool = False,
        isolation: str = "",
    ) -> None:
        refuse_what_is_not_there(fault_recover, keyfile, certfile)
        if loglevel is not None:
            logger.setLevel(loglevel)
        check_interval("pulse_interval", pulse_interval, 0.1, 1000)
        check_interval("ping_interval", ping_interval, 1, 1000)
        if isolation not in ("", "job"):
            raise ConfigError(f"isolation must be '' or 'job', not {isolation!r}")
        self._callback = checked_callback(callback)
        self._is_program = is_program(computation)
        wanted = whom.parse(nodes, config.port_number(node_port or config.NODE_PORT, "node_port"))
        found = secret_for(wanted, secret, secret_file, insecure)
        # First, since it starts while the rest is done here.
        self._local = LocalNode(found) if wanted.local else None
        try:
            message = prepare(computation, depends, isolation, dest_path or "", bool(cleanup))
        except BaseException:
            if self._local is not None:
                self._local.close()
            raise
        self.name: str = message.name
        self._key = (
            found.key,
            ip_addr or config.default_ip_addr(),
            ext_ip_addr or "",
            config.port_number(port or config.CLIENT_PORT, "port"),
            pulse_interval,
            ping_interval,
            found.insecure,
        )
        self._reentrant = bool(reentrant)
        self._begin(message, wanted, found, node_port or config.NODE_PORT)

    def _begin(self, message: Prepare, wanted: whom.Whom, secret: Secret, node_port: int) -> None:
        self._computation = message.computation
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._made = 0
        self._ended = 0
        self._submitted: deque[tuple[DispyJob, Bulk]] = deque()
        self._rung = False
        self._jobs: dict[JobId, DispyJob] = {}
        self._idle_gates: list[Gate] = []
        self._answers: dict[int, tuple[Gate, list[Standing]]] = {}
        self._questions = itertools.count(1)
        self._released = Gate()
        self._closing = False
        self._closed = False
        self._forked = False
        self._started = time.time()
        self._hub = Hub.get()
        if self._callback is not None:
            self._hub.prepare_errands()
        self._hub.in_forked_child.append(self._die_in_child)
        try:
            self._hub.call(self._join, message, wanted, secret, node_port)
        except BaseException:
            if self._local is not None:
                self._local.close()
            raise
        _open_clusters.add(self)

    # What the user calls

    def submit(self, *args: Any, **kwargs: Any) -> DispyJob:
        """Queue one job: the computation called with these arguments. Returns at once.

        For a program the arguments are its words; numbers are written as text. Raises ClusterClosed,
        and TypeError for arguments that cannot travel.
        """
        payload = program_call(args, kwargs) if self._is_program else function_call(args, kwargs)
        with self._lock:
            if self._closing:
                raise ForkedError() if self._forked else ClusterClosed()
            number = self._made = self._made + 1
            job = DispyJob(number, time.time())
            self._submitted.append((job, payload))
            ring, self._rung = not self._rung, True
        if ring:
            self._hub.post(self._take_submitted)
        return job

    def cancel(self, job: DispyJob) -> int:
        """End a job, begun or not: KeyboardInterrupt in the job first, then SIGTERM and SIGKILL.

        Returns 0, or -1 for a job that has ended or is not of this cluster. The job is told to end;
        wait for it to see how it did.
        """
        if not isinstance(job, DispyJob):
            raise ConfigError(f"cancel takes a job, not {type(job).__name__}")
        self._refuse_fork()
        return int(self._hub.call(self._cancel, job))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all jobs that were submitted have ended; False if `timeout` seconds pass before."""
        self._refuse_fork()
        until = None if timeout is None else time.monotonic() + timeout
        while self._ended < self._made:
            gate = Gate()
            self._idle_gates.append(gate)
            if self._ended >= self._made:
                break
            left = None if until is None else until - time.monotonic()
            if not gate.wait(left):
                return False
        return True

    def status(self) -> ClusterStatus:
        """The nodes of this cluster, how many jobs are pending, and (`problems`) what is wrong."""
        self._refuse_fork()
        standing = self._standing()
        nodes = [DispyNode(row) for row in standing.nodes]
        return ClusterStatus(nodes, self._made - self._ended, list(standing.problems))

    def print_status(self, wall_time: float | None = None) -> None:
        """Print a table of the nodes and what they have done."""
        took = time.time() - self._started if wall_time is None else wall_time
        print(table(self.status(), took))

    stats = print_status

    def close(self, timeout: float | None = None, terminate: bool = False) -> bool | None:
        """Wait for pending jobs, then leave the nodes: files and processes there are removed.

        With `timeout` (seconds), returns False if jobs are still pending then, unless `terminate`: then
        they are cancelled. Returns True when closed, None if it was closed before.
        """
        if self._closed:
            return None
        self._refuse_fork()
        if not self.wait(timeout):
            if not terminate:
                return False
            self._cancel_all()
            self.wait(RELEASE_LIMIT)
        self._leave(RELEASE_LIMIT)
        return True

    shutdown = close

    def __enter__(self) -> JobCluster:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        # After an exception nobody will ask for results, so what still runs is ended.
        if kind is None:
            self.close()
        else:
            self.close(timeout=0, terminate=True)

    # In the user's thread

    def _refuse_fork(self) -> None:
        if self._forked:
            raise ForkedError

    def _standing(self) -> Standing:
        question, gate, answer = next(self._questions), Gate(), list[Standing]()
        self._answers[question] = gate, answer
        if self._closed:
            return Standing(self._computation, question, self._last_rows, 0, [])
        self._hub.post(self._ask, question)
        gate.wait(RELEASE_LIMIT)
        self._answers.pop(question, None)
        return answer[0] if answer else Standing(self._computation, question, [], 0, [])

    def _cancel_all(self) -> None:
        self._hub.call(self._cancel_everything)

    def _leave(self, limit: float) -> None:
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._last_rows = self._standing().nodes
        self._hub.post(self._release)
        if not self._released.wait(limit):
            logger.warning("%s: a node has not said in time that all is cleaned up there", self.name)
        self._hub.finish_errands(limit)
        self._hub.call(self._part)
        self._closed = True
        _open_clusters.discard(self)

    def _die_in_child(self) -> None:
        self._forked = self._closing = self._closed = True
        self._lock = threading.Lock()
        shared = _schedulers.get(self._key)
        if shared is not None:
            shared.scheduler.abandon_in_child()
        if self._local is not None:
            self._local.forget_in_child()

    # In the hub

    def _join(self, message: Prepare, wanted: whom.Whom, secret: Secret, node_port: int) -> None:
        shared = _schedulers.get(self._key)
        if shared is None:
            _, ip_addr, ext_ip_addr, port, pulse, ping, _ = self._key
            scheduler = Scheduler(secret, ip_addr, ext_ip_addr, port, pulse, ping)
            shared = _schedulers[self._key] = _Shared(scheduler, set())
            scheduler.start()
        shared.users.add(id(self))
        self._scheduler = shared.scheduler
        self._pump = Pump(self._perform)
        self._pump.start()
        self._end = self._scheduler.attach(lambda messages: self._pump.put(self._receive, messages))
        self._session = Session(self._computation, self._end.peer)
        if self._local is None:
            patterns = wanted.patterns
        else:
            patterns = [*wanted.patterns, self._local.name]
            self._hub.spawn(self._await_local, self._local)
        self._end.send(Open(self._computation, patterns, self._reentrant))
        self._end.send(message)
        self._scheduler.seek(wanted.targets, wanted.look, node_port)

    def _await_local(self, local: LocalNode) -> None:
        try:
            host, port = local.await_ready()
        except ConnectFailed as error:
            self._scheduler.report(LOCAL_PLACE, str(error))
            return
        self._scheduler.seek([(host, port)], False, port)

    def _part(self) -> None:
        self._pump.stop()
        self._scheduler.detach(self._end)
        shared = _schedulers[self._key]
        shared.users.discard(id(self))
        if not shared.users:
            del _schedulers[self._key]
            shared.scheduler.close()
        if self._local is not None:
            self._local.close()
        with contextlib.suppress(ValueError):
            self._hub.in_forked_child.remove(self._die_in_child)

    def _take_submitted(self) -> None:
        self._rung = False
        jobs: list[JobId] = []
        arguments: list[Bulk] = []
        submitted, known = self._submitted, self._jobs
        while submitted:
            job, payload = submitted.popleft()
            number = JobId(job._number)
            known[number] = job
            jobs.append(number)
            arguments.append(payload)
        if jobs:
            self._pump.put(self._submit, jobs, arguments)

    def _submit(self, jobs: list[JobId], arguments: list[Bulk], now: float) -> Effects:
        return self._session.submit(jobs, arguments)

    def _receive(self, messages: list[Any], now: float) -> Effects:
        return self._session.receive(messages)

    def _cancel(self, job: DispyJob) -> int:
        self._take_submitted()
        if self._jobs.get(JobId(job._number)) is not job:
            return -1
        self._pump.put(lambda now: self._session.cancel([JobId(job._number)]))
        return 0

    def _cancel_everything(self) -> None:
        self._take_submitted()
        self._pump.put(lambda now: self._session.cancel(list(self._jobs)))

    def _ask(self, question: int) -> None:
        self._end.send(Ask(self._computation, question))

    def _release(self) -> None:
        self._pump.put(lambda now: self._session.release())

    def _perform(self, effect: Any) -> None:
        if isinstance(effect, Send):
            self._end.send(effect.message)
        elif isinstance(effect, Resolve):
            self._resolve(effect)
        else:
            self._OTHER_EFFECTS[type(effect)](self, effect)

    def _resolve(self, effect: Resolve) -> None:
        ended = effect.ended
        numbers, jobs = ended.jobs, self._jobs
        gates: list[Gate] = []
        results, outputs, errors = ended.results, ended.outputs, ended.errors
        statuses, starts, ends, exceptions = ended.statuses, ended.starts, ended.ends, ended.exceptions
        for place in range(len(numbers)) if effect.picks is None else effect.picks:
            job = jobs.pop(numbers[place])
            job._result = None
            job._payload = results[place]
            job.ip_addr = ended.address
            job.start_time = starts[place] or job.start_time
            job.end_time = ends[place] or None
            if outputs[place] or errors[place] or self._is_program:
                job.stdout, job.stderr = self._printed(outputs[place]), self._printed(errors[place])
                job.truncated = ended.truncated[place]
            job.exception = exceptions[place] or None
            job.status = statuses[place]
            job._done = True
            if job._gate is not None:
                gates.append(job._gate)
            if self._callback is not None:
                self._hub.errand(self._callback, job)
        self._ended += len(numbers) if effect.picks is None else len(effect.picks)
        if self._ended >= self._made and self._idle_gates:
            gates += self._idle_gates
            self._idle_gates = []
        # After the last, or the user's thread would wake up in between and want the interpreter.
        for gate in gates:
            gate.open()

    def _printed(self, output: Bulk) -> Any:
        if not output:
            return b"" if self._is_program else ""
        data = joined(output)
        return data if self._is_program else data.decode("utf-8", "replace")

    def _show(self, effect: Show) -> None:
        started = effect.started
        for number, began in zip(started.jobs, started.times, strict=True):
            job = self._jobs.get(number)
            if job is not None and job.status == statuses.CREATED:
                job.status, job.start_time, job.ip_addr = statuses.RUNNING, began, started.address

    def _provide(self, effect: Provide) -> None:
        progress = effect.progress
        job = self._jobs.get(progress.job)
        if job is not None:
            job.status, job.ip_addr = statuses.PROVISIONAL_RESULT, progress.address
            job._payload, job._result = progress.value, None
            if self._callback is not None:
                self._hub.errand(self._callback, job._copy())

    def _tell(self, effect: Tell) -> None:
        logger.warning("%s", effect.text)

    def _answer(self, effect: Answer) -> None:
        known = self._answers.get(effect.standing.question)
        if known is not None:
            known[1].append(effect.standing)
            known[0].open()

    def _on_closed(self, effect: Closed) -> None:
        self._released.open()

    _OTHER_EFFECTS: dict[type, Callable[[JobCluster, Any], None]] = {
        Show: _show,
        Provide: _provide,
        Tell: _tell,
        Answer: _answer,
        Closed: _on_closed,
    }


LOCAL_PLACE = "the local node"


def _close_at_exit() -> None:
    """The program ends: wait for its jobs, as dispy does, unless it ends by an exception."""
    hasty = getattr(sys, "last_exc", None) is not None or getattr(sys, "last_value", None) is not None
    for cluster in list(_open_clusters):
        if cluster._forked:
            continue
        try:
            pending = cluster._made - cluster._ended
            if pending and not hasty:
                logger.warning("%s: waiting for %d jobs; Ctrl-C leaves them", cluster.name, pending)
                cluster.wait()
        except KeyboardInterrupt:
            hasty = True
        with contextlib.suppress(KeyboardInterrupt):
            if cluster._made > cluster._ended:
                cluster._cancel_all()
            cluster._leave(HASTY_LIMIT)


atexit.register(_close_at_exit)
