"""The commands of fairseq and emofair without the seconds in which Python imports torch and fairseq.

A server imports them once and forks a child for every command. The child is what the command would be after its
imports: it has its own arguments, directory, environment and files, runs the entry point and ends as a program does.
This file is run as a script, by server and clients alike, so that it does not import emofair itself:

    warm_start.py serve SOCKET            the server; it ends with the process that started it
    warm_start.py run SOCKET COMMAND ...  a client, for scripts that call the commands by name; see `commands_on_path`
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import json
import os
import selectors
import shlex
import signal
import socket
import sys
from contextlib import suppress
from functools import cache

COMMANDS = {
    "fairseq-train": ("fairseq_cli.train", "cli_main"),
    "fairseq-validate": ("fairseq_cli.validate", "cli_main"),
    "fairseq-preprocess": ("fairseq_cli.preprocess", "cli_main"),
    "fairseq-hydra-train": ("fairseq_cli.hydra_train", "cli_main"),
    "emofair": ("emofair.cli.main", "main"),
}
_SIZE = 1 << 20
_READY = b"ready\n"


class Started:
    """A command under way on the server at ``path``; ``files`` become its standard input, output and error."""

    def __init__(self, path: str, words: list[str], cwd: str, environment: dict[str, str], files: list[int]) -> None:
        self._channel = _socket()
        self._channel.connect(path)
        request = json.dumps([words, cwd, environment]).encode()
        assert len(request) < _SIZE
        socket.send_fds(self._channel, [request], files)
        self.pid = json.loads(self._channel.recv(_SIZE))

    def kill(self) -> None:
        """End it with SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit status; minus the signal that ended it."""
        status = json.loads(self._channel.recv(_SIZE))
        self._channel.close()
        return status


@cache
def server() -> str:
    """Path of the socket of this process's server, started at the first call."""
    import subprocess
    import tempfile

    folder = tempfile.mkdtemp(prefix="warm")
    path = os.path.join(folder, "socket")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [sys.executable, __file__, "serve", path], env=environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    while (line := process.stdout.readline()) != _READY:
        assert line, "the server did not start"
    atexit.register(process.wait)
    atexit.register(process.terminate)
    return path


@cache
def commands_on_path() -> str:
    """A folder for the front of a search path: programs named as `COMMANDS`, which run them on the server."""
    path = server()
    folder = os.path.join(os.path.dirname(path), "bin")
    os.mkdir(folder)
    for name in COMMANDS:
        words = shlex.join([sys.executable, "-S", "-E", __file__, "run", path, name])
        with open(os.path.join(folder, name), "w", opener=lambda file, flags: os.open(file, flags, 0o755)) as file:
            file.write(f'#!/bin/sh\nexec {words} "$@"\n')
    return folder


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SIZE)
    return made


def _serve(path: str) -> None:
    """Fork for every request; the parent answers with the child's number, and with its status when it has ended."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # when the parent dies
    import fairseq_cli.train
    import fairseq_cli.validate  # noqa: F401
    import hydra  # noqa: F401

    listening = _socket()
    listening.bind(path)
    listening.listen(64)
    selector = selectors.DefaultSelector()
    selector.register(listening, selectors.EVENT_READ)
    os.write(1, _READY)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                channel, _ = listening.accept()
                request, files, _, _ = socket.recv_fds(channel, _SIZE, 3)
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    for opened in (listening, channel):
                        opened.close()
                    _become(*json.loads(request), files)
                for file in files:
                    os.close(file)
                _send(channel, pid)
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (channel, pid))
            else:
                channel, pid = key.data
                selector.unregister(key.fd)
                os.close(key.fd)
                _send(channel, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                channel.close()


def _send(channel: socket.socket, number: int) -> None:
    with suppress(OSError):  # nobody may wait any more
        channel.send(json.dumps(number).encode())


def _become(words: list[str], cwd: str, environment: dict[str, str], files: list[int]) -> None:
    ctypes.CDLL(None).prctl(1, 0)
    for number, file in enumerate(files):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    module, function = COMMANDS[os.path.basename(words[0])]
    sys.exit(getattr(importlib.import_module(module), function)())


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(sys.executable)  # as for the commands: the folder of the script
    if sys.argv[1] == "serve":
        _serve(sys.argv[2])
    else:
        status = Started(sys.argv[2], sys.argv[3:], os.getcwd(), dict(os.environ), [0, 1, 2]).wait()
        if status < 0:
            os.kill(os.getpid(), -status)
        sys.exit(status)
