"""fairseq's commands without the seconds in which Python imports torch and fairseq, each still in a process of its own.

This file is run as a script, so that it does not import emofair: it imports fairseq once and then forks a child for
every command that comes through its socket. The child is what the command would be after its imports: it has its own
arguments, directory, environment and output, runs the command's entry point and ends as any program does.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from functools import cache

COMMANDS = {
    "fairseq-train": "fairseq_cli.train",
    "fairseq-validate": "fairseq_cli.validate",
    "fairseq-hydra-train": "fairseq_cli.hydra_train",
}
_SIZE = 1 << 20


class Started:
    """A command under way."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self.pid = json.loads(channel.recv(_SIZE))

    def kill(self) -> None:
        """End it with SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit status; minus the signal that ended it."""
        return json.loads(self._channel.recv(_SIZE))


def start(words: list[str], cwd: str, environment: dict[str, str], output: int) -> Started:
    """Start a command of `COMMANDS`; what it prints goes to the file descriptor ``output``. One at a time."""
    channel = _server()
    request = json.dumps({"words": words, "cwd": cwd, "environment": environment}).encode()
    assert len(request) < _SIZE
    socket.send_fds(channel, [request], [output])
    return Started(channel)


@cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SIZE)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, __file__, str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
    theirs.close()
    atexit.register(process.wait)
    atexit.register(ours.close)  # the server ends when its socket does
    return ours


def _serve(channel: socket.socket) -> None:
    """Fork for every request; in the child run it, in the parent wait for it."""
    import fairseq_cli.train
    import fairseq_cli.validate  # noqa: F401
    import hydra  # noqa: F401

    while True:
        request, files, _, _ = socket.recv_fds(channel, _SIZE, 1)
        if not request:
            return
        pid = os.fork()
        if pid == 0:
            channel.close()
            _become(**json.loads(request), output=files[0])
        os.close(files[0])
        channel.send(json.dumps(pid).encode())
        channel.send(json.dumps(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def _become(words: list[str], cwd: str, environment: dict[str, str], output: int) -> None:
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    sys.exit(importlib.import_module(COMMANDS[os.path.basename(words[0])]).cli_main())


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(sys.executable)  # as for the command: the folder of the script
    _serve(socket.socket(fileno=int(sys.argv[1])))
