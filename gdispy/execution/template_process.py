"""The node's record of one template process: the process that loads a computation and forks its workers.

Runs in the node's loop.
"""

from __future__ import annotations

import socket

import gevent

from gdispy.execution.dependency_files import JobFiles
from gdispy.execution.worker_channel import WorkerChannel
from gdispy.protocol.ids import WorkerId
from gdispy.protocol.messages import Prepare


class TemplateProcess:
    """One computation's template process."""

    def __init__(self, prepare: Prepare, directory: str, jobs: str) -> None:
        self.id = prepare.computation
        self.prepare = prepare
        self.directory = directory
        #: The parent of its workers' directories, which contain those of their jobs; and whether they stay like all
        #: files.
        self.jobs = jobs
        self.keeps_jobs = not prepare.cleanup and not prepare.directory
        self.workers: dict[WorkerId, WorkerChannel] = {}
        #: The end of its control socket; set when it is started.
        self.end: socket.socket
        self.reader: gevent.Greenlet | None = None
        #: It was told to end, so its end is expected.
        self.ending = False
        #: Why it is killed because of a defect of the node, or ''.
        self.defect = ""
        #: It has loaded the computation; and there is a cleanup function to call at the end.
        self.is_loaded = self.cares = False
        self.job_files: JobFiles | None = None
