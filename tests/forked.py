"""`slidemask` in processes that cost little to start, to be killed at any moment.

A server process imports everything once and forks a child for each command.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

SERVER = """
import json, os, signal, sys, time
import slidemask.models.network  # PyTorch, which a command imports only where it is needed
import slidemask.recipes.reporting, slidemask.recipes.segment
from slidemask.apps.cli import main
from slidemask.models.bundle import Bundle

told = Bundle.predict

def run(arguments, said, slowness_s):
    def slowly(self, *tiles):
        time.sleep(slowness_s)
        return told(self, *tiles)

    Bundle.predict = slowly
    said = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1), os.dup2(said, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    sys.argv = ["slidemask", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    return 0

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        code = 99
        try:
            code = run(**json.loads(line))
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Server:
    """Starts commands, one at a time.

    Parameters
    ----------
    folder : Path
        Where their output goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    @property
    def said(self) -> str:
        """What the last command said."""
        return self._file.read_text()

    @property
    def _file(self) -> Path:
        return self._folder / f"said-{self._number}.txt"

    def start(self, *arguments: object, slowness_s: float = 0.005) -> int:
        """Start a command whose forward passes take at least so long; return its process."""
        assert self._process.stdin is not None
        self._number += 1
        line = {
            "arguments": [str(one) for one in arguments],
            "said": str(self._file),
            "slowness_s": slowness_s,
        }
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> int:
        """Wait for its end; return its exit code, -9 when it was killed."""
        return self._answer()

    def run(self, *arguments: object) -> int:
        """Start a command and wait for its end."""
        self.start(*arguments)
        return self.end()

    def kill(self, child: int) -> None:
        """Kill a child that may have ended, but has not been waited for by more than an instant."""
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the server died; see {self._file}"
        return int(line)
