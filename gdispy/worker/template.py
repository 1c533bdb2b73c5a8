"""The template process of one computation: loads it once, then forks the workers that run its jobs.

Forked from the spawner; one thread. Everything loaded here is shared with all workers without copying. It follows
commands of the node over a local socket:

  node -> template   [load, kind, name]              with the body and the arguments of setup as files
                     [leave]                         call cleanup and exit
                     [fork, worker]                  with the worker's five descriptors
                     [signal, worker, number, whole] whole: the worker's process group
                     [end, worker, cause]            kill the worker and all below it
  template -> node   [loaded, error, cares, note]    error '' where all went well; cares: there is a cleanup;
                                                     note: what the user should know besides, or ''
                     [log, level, text]              of `dispynode_logger`
                     [forked, worker, pid] · [exited, worker, status, cause]
                     [shutdown]                      cleanup wants the node to end

Invariants: a worker is reaped only here, so its exit status is never lost, and a signal is never sent to a process that
has reused the pid of a dead worker. When a worker has ended, its processes have ended. When the node's end closes, all
workers end, then the template. Setup and cleanup run here, so objects of setup exist in every worker: globals, shared
memory, locks.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

from gdispy.protocol.limits import shortened
from gdispy.worker import control, injected_names, pickling
from gdispy.worker.calls import Run, call_function
from gdispy.worker.cgroups import Groups
from gdispy.worker.changes import Changes
from gdispy.worker.failures import missing_module, users_frames
from gdispy.worker.file_requests import install_command
from gdispy.worker.forwarded_logs import Forwarding
from gdispy.worker.frames import BROKEN
from gdispy.worker.function_calls import FunctionCalls
from gdispy.worker.job_directory import Place
from gdispy.worker.job_modules import module_files
from gdispy.worker.limits import Limits, overtime
from gdispy.worker.main_module import MainModule
from gdispy.worker.memory_kills import MemoryKills
from gdispy.worker.module_state import StateFinder
from gdispy.worker.node_log import log_to_node
from gdispy.worker.process_tree import (
    adopt_orphans,
    descendants,
    die_with_parent,
    kill_descendants,
    signal_name,
)
from gdispy.worker.program import COMMANDS, run_program
from gdispy.worker.randomness import Generators
from gdispy.worker.result_encoding import choose
from gdispy.worker.runner import Worker
from gdispy.worker.setup_globals import Globals, Namespaces
from gdispy.worker.shared_page import runs

#: Seconds between two checks of the workers' process trees; and with limits that a job reaches quickly.
WATCH_INTERVAL = 1.0
CLOSE_WATCH_INTERVAL = 0.25


@dataclass(frozen=True)
class JobSettings:
    """Options of how jobs of a computation run."""

    #: The parent of workers' directories of their jobs; and whether each job has one.
    directory: str
    has_directories: bool
    #: Whether those are kept after the jobs, like all files of the computation.
    keeps_directories: bool
    #: Bytes kept of each output stream of a job.
    output_limit: int
    #: Records of `dispynode_logger` of this level and above are sent to the node.
    log_level: int
    #: The encoding of results, as in `Prepare`.
    results: str = ""
    #: Levels of loggers in msgpack, if records of jobs are sent to the client, else empty.
    logs: bytes = b""


@dataclass(frozen=True)
class TemplateSettings:
    """The spawner's parameters for a template."""

    directory: str
    node_name: str
    address: str
    #: Whether cleanup functions may stop the node.
    client_shutdown: bool
    jobs: JobSettings
    limits: Limits
    groups: Groups | None = None
    #: The global variables of the node's `--init`.
    exported: Mapping[str, object] = field(default_factory=dict)


def main(end: socket.socket, setting: TemplateSettings, parent: int) -> None:
    """Run the template in a process just forked; does not return."""
    code = 0
    try:
        die_with_parent(parent)
        adopt_orphans()
        os.setsid()
        for number in (
            signal.SIGTERM,
            signal.SIGHUP,
        ):  # Processes started by setup and jobs can be killed by their names.
            signal.signal(number, signal.SIG_DFL)
        template = Template(end, setting)
        with contextlib.suppress(ConnectionError):  # The node has dropped it meanwhile.
            code = template.serve()
    except BaseException:
        code = 1
        traceback.print_exc()
    finally:
        kill_descendants(os.getpid())
        os._exit(code)


class Template:
    """The loop of the template and the state of its workers."""

    def __init__(self, end: socket.socket, setting: TemplateSettings) -> None:
        self._end = end
        self._setting = setting
        self._run: Run | None = None
        #: The name of the computation.
        self._name = "?"
        self._setup: Callable[..., object] | None = None
        self._cleanup: Callable[..., object] | None = None
        self._arguments: tuple[object, ...] = ()
        #: All functions that came with the computation.
        self._functions: list[object] = []
        #: Global variables of setup, for programs.
        self._exported = dict(setting.exported)
        #: The file name, of a program computation.
        self._program = ""
        self._changes = Changes()
        self._generators = Generators()
        self._namespaces: Namespaces | None = None
        self._log = log_to_node(self._send_log, setting.jobs.log_level)
        self._is_leaving = False
        self._workers: dict[int, int] = {}  # worker -> pid
        self._pages: dict[int, mmap.mmap] = {}  # worker -> its page
        self._causes: dict[int, str] = {}  # worker -> why it was killed here
        self._memory_kills = MemoryKills()
        #: Files of modules that came with the computation, or that setup has created.
        self._module_files: frozenset[str] = frozenset()
        #: Processes that loading the computation left on purpose.
        self._own: frozenset[int] = frozenset()
        limits = setting.limits
        self._watch_interval = CLOSE_WATCH_INTERVAL if limits.memory or limits.processor else WATCH_INTERVAL
        self._next_watch = 0.0
        self._waiter = control.EventWaiter(end)
        os.makedirs(setting.directory, exist_ok=True)
        os.chdir(setting.directory)

    def serve(self) -> int:
        while True:
            has_message = self._waiter.wait(self._watch_interval if self._workers else None)
            self._reap()
            if has_message:
                received = control.receive(self._end)
                if received is None:
                    return 0
                self._obey(*received)
                if self._is_leaving:
                    return 0
            self._watch()

    def _obey(self, message: list[Any], fds: list[int]) -> None:
        word, *rest = message
        handlers: dict[str, Callable[..., None]] = {
            "load": self._load,
            "fork": self._fork,
            "signal": self._signal,
            "end": self._end_worker,
            "leave": self._leave,
        }
        handlers[word](*rest, *([fds] if fds else []))

    def _load(self, kind: str, name: str, fds: list[int]) -> None:
        self._name = name
        try:
            self._run = self._loaded(kind, name, _contents(fds[0]))
            self._arguments = pickling.loads(_contents(fds[1])) if os.fstat(fds[1]).st_size else ()
            error = ""
        except BaseException as failure:
            error = f"{name} cannot be loaded on {self._setting.node_name}: " + "".join(
                [*traceback.format_exception_only(type(failure), failure), missing_module(failure)]
            )
        control.close_all(fds)
        error = error or self._set_up(name)
        self._own = frozenset(descendants(os.getpid()))
        self._module_files = module_files(self._setting.directory)
        self._generators.find()
        note = "" if error else _left_threads()
        control.send(self._end, ["loaded", shortened(error, control.TEXT_LIMIT), self._cleanup is not None, note])

    def _set_up(self, name: str) -> str:
        """Call what must run before the first job; returns the error, or ''."""
        depends_init = getattr(sys.modules["__main__"], "init_depends", None)
        try:
            for call, arguments in ((depends_init, ()), (self._setup, self._arguments)):
                names = Globals(self._functions)
                result = call(*arguments) if callable(call) else 0
                self._exported.update(names.share())
        except BaseException as failure:
            self._cleanup = None  # There is nothing to clean up.
            return f"setup of {name} failed on {self._setting.node_name}: " + "".join(
                [*traceback.format_exception(type(failure), failure, users_frames(failure)), missing_module(failure)]
            )
        # 1 and 2 select ways to pass globals in dispy; here jobs are always forked from this process.
        if result in (0, 1, 2, None) and not isinstance(result, bool):
            return ""
        self._cleanup = None
        return f"setup of {name} returned {result!r} on {self._setting.node_name}, so the node is not used\n"

    def _leave(self) -> None:
        """The computation has ended: end its workers, then call cleanup."""
        self._is_leaving = True
        for pid in self._workers.values():
            self._kill(pid)
        kill_descendants(os.getpid(), self._own)
        if self._cleanup is not None:
            if self._setting.client_shutdown:
                injected_names.allow_shutdown(lambda: control.send(self._end, ["shutdown"]))
            try:
                self._cleanup(*self._arguments)
            except BaseException as failure:
                sys.stderr.write(
                    f"cleanup of {self._name} failed on {self._setting.node_name}: "
                    + "".join(traceback.format_exception(type(failure), failure, users_frames(failure)))
                )
                sys.stderr.flush()
        sys.stdout.flush()

    def _loaded(self, kind: str, name: str, body: bytearray) -> Run:
        setting = self._setting
        choose(setting.jobs.results)
        forwarding = Forwarding(msgpack.unpackb(setting.jobs.logs)) if setting.jobs.logs else None
        known = injected_names.provide(setting.node_name, setting.address, setting.directory)
        sys.path.insert(0, setting.directory)
        self._changes.watch()
        main = sys.modules["__main__"] = MainModule(body, setting.jobs.directory)
        main.__dict__["__builtins__"] = __builtins__
        with pickling.loading_computation():
            found = pickling.loads(body) if body else (None, {}, None, None)
        function, given, self._setup, self._cleanup, *states = found
        for each in states:
            StateFinder(each, pickling.loads).install()
        self._functions = [function, self._setup, self._cleanup, *given.values()]
        for key, value in given.items():
            setattr(sys.modules["builtins"], key, value)
            setattr(main, key, value)
        self._namespaces = Namespaces(self._functions)
        self._namespaces.provide({**known, **given, **({name: function} if callable(function) else {})})
        if kind == "program":
            self._program = name
            commands = install_command(os.path.join(setting.jobs.directory, COMMANDS))
            return run_program(os.path.join(setting.directory, name), self._exported, commands)
        run = call_function(function)
        return forwarding.around(run) if forwarding is not None else run

    def _fork(self, worker: int, fds: list[int]) -> None:
        parent = os.getpid()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            self._become_worker(worker, parent, fds)
        self._pages[worker] = mmap.mmap(fds[-1], mmap.PAGESIZE, prot=mmap.PROT_READ)
        control.close_all(fds)
        self._workers[worker] = pid
        control.send(self._end, ["forked", worker, pid])

    def _send_log(self, level: int, text: str) -> None:
        control.send(self._end, ["log", level, text])

    def _place(self, worker: int) -> Place:
        setting = self._setting
        jobs = setting.jobs
        private = os.path.join(jobs.directory, str(worker))
        where = (setting.directory, private if jobs.has_directories else "", jobs.keeps_directories)
        files = os.path.dirname(jobs.directory)
        return Place(*where, self._program, jobs.output_limit, files, self._module_files, private)

    def _become_worker(self, worker: int, parent: int, fds: list[int]) -> None:
        try:
            die_with_parent(parent)
            adopt_orphans()
            os.setsid()
            self._waiter.leave_in_child()
            assert self._run is not None
            _shoot_me_first()
            if self._setting.groups is not None:
                self._setting.groups.enter(self._setting.limits)
            self._generators.reseed()
            place = self._place(worker)
            became = Worker(fds, self._run, self._setting.directory, self._setting.limits, self._changes, place)
            if isinstance(self._functions[0], FunctionCalls):
                self._functions[0].begin_worker()
            became.namespaces, self._log.send = self._namespaces, became.log
            became.serve()
            kill_descendants(os.getpid())
        except BaseException:
            traceback.print_exc()
            os._exit(BROKEN)
        os._exit(0)

    def _signal(self, worker: int, number: int, whole: bool) -> None:
        pid = self._workers.get(worker)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if whole else os.kill)(pid, number)

    def _end_worker(self, worker: int, cause: str) -> None:
        pid = self._workers.get(worker)
        if pid is not None:
            if cause:
                self._causes.setdefault(worker, cause)
            self._kill(pid)

    def _kill(self, pid: int) -> None:
        if self._setting.groups is not None:
            self._setting.groups.kill(pid)
        # Descendants first: once their parent is dead, they are no longer found below it.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        kill_descendants(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        ended: list[tuple[int, int, str]] = []
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            killer = self._memory_kills.explain(status, usage.ru_maxrss)
            ended.append(
                (pid, status, f"its process was killed by {signal_name(signal.SIGKILL)}: {killer}" if killer else "")
            )
        if not ended:
            return
        pids = {pid: worker for worker, pid in self._workers.items()}
        # Orphans of a dead worker have become children of this process.
        kill_descendants(os.getpid(), frozenset(pids) - {pid for pid, *_ in ended} | self._own)
        for pid, status, killer in ended:
            worker = pids.get(pid)
            if worker is not None:
                del self._workers[worker]
                self._pages.pop(worker).close()
                cause = self._causes.pop(worker, "")
                if self._setting.groups is not None:
                    cause = self._setting.groups.end(pid, self._setting.limits) or cause
                control.send(self._end, ["exited", worker, status, cause or killer])

    def _watch(self) -> None:
        """Apply the limits to every job's process tree."""
        now = time.monotonic()
        if now < self._next_watch or not self._workers:
            return
        self._next_watch = now + self._watch_interval
        for worker, pid in self._workers.items():
            if not runs(self._pages[worker]):
                continue
            tree = [pid, *descendants(pid)]
            cause = self._setting.limits.excess(tree) or overtime(self._pages[worker], tree)
            if cause:
                self._causes.setdefault(worker, cause)
                self._kill(pid)


def _left_threads() -> str:
    """Workers are forked from this process, with its main thread only: the message for the user if there are other
    threads."""
    names = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
    if not names:
        return ""
    shown = shortened(
        ", ".join(name[:50] for name in names[:5]) + (", ..." if len(names) > 5 else ""), control.TEXT_LIMIT
    )
    return (
        f"setup has left threads running ({shown}), which jobs do not have: each job runs in a process forked from the "
        "one in which setup ran. Create thread pools, and objects that have threads, in the job"
    )


def _contents(fd: int) -> bytearray:
    """The contents of a file; arrays that are views of it may be changed, as at the client."""
    size = os.fstat(fd).st_size
    if not size:
        return bytearray()
    with mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE) as mapped:
        return bytearray(mapped)


def _shoot_me_first() -> None:
    """Make the kernel kill a job rather than the node when memory runs out."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")
