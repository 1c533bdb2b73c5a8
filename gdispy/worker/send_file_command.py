"""The command `dispy_send_file FILE...` of programs that jobs run: sends files to the client, and waits for its answer.

A script that `python -I -S` runs, so that it starts quickly: standard library only, and as little of it as possible.
The worker of the job does the work (`file_requests.py`): it gets the open file and its path through a socket.

Invariant: the exit status is 0 only if the client has all files.
"""

import os
import socket
import sys

#: The variable that names the socket.
VARIABLE = "GDISPY_SEND_FILE"
#: First byte of an answer.
GOOD = b"+"
ANSWER_LIMIT = 64 * 1024
_NAME = "dispy_send_file"


def main(words: list[str]) -> int:
    """Send the files; the exit status."""
    if not words or words[0] in ("-h", "--help"):
        text = f"usage: {_NAME} FILE...\n\nSend files of the running job to its client, and wait until it has them.\n"
        (sys.stdout if words else sys.stderr).write(text)
        return 0 if words else 2
    place = os.environ.get(VARIABLE, "")
    if not place:
        return _fail(f"this is not a program that a job runs ({VARIABLE} is not set)")
    failures = [_fail(error) for error in (_send(place, word) for word in words) if error]
    return failures[0] if failures else 0


def _fail(error: str) -> int:
    sys.stderr.buffer.write(os.fsencode(f"{_NAME}: {error}\n"))
    return 1


def _send(place: str, path: str) -> str:
    """Send one file; returns the error, or ''."""
    try:
        # Opening a path that is not a file, such as a pipe, could block.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        return f"{path}: {getattr(error, 'strerror', error)}"
    try:
        with _connected(place) as end:
            socket.send_fds(end, [os.fsencode(os.path.abspath(path))], [fd])
            answer = end.recv(ANSWER_LIMIT)
    except OSError as error:
        return f"{path}: the job cannot be reached: {error.strerror}"
    finally:
        os.close(fd)
    if not answer:
        return f"{path}: the job has ended, and the client may not have the file"
    return "" if answer.startswith(GOOD) else answer[1:].decode("utf-8", "replace")


def _connected(place: str) -> socket.socket:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    folder, name = os.path.split(place)
    try:
        # The address of a socket must be short, and the path need not be.
        held = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            end.connect(f"/proc/self/fd/{held}/{name}")
        finally:
            os.close(held)
    except BaseException:
        end.close()
        raise
    return end


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
