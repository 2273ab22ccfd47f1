"""The program `controlplane` in processes that are forked from one that has imported it.

A process that starts Python and imports the verbs takes 0.4 s of CPU, and the tests of these verbs start some 200. A
forked one has its own arguments, folder, environment, output and exit code. It ends as the interpreter does, except
that it does not take 1,000 modules apart.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from tests.patience import PROCESS_S


class Forks:
    """A process that forks, as a context manager."""

    def __enter__(self) -> Forks:
        self._server = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=Path(__file__).parents[5],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(PROCESS_S)
        self._server.stdout.close()

    def run(
        self, words: list[str], folder: Path, environment: Mapping[str, str], said: Path
    ) -> subprocess.CompletedProcess[str]:
        """Run the program with these words in a folder. Its output goes to files in the folder `said`."""
        assert self._server.stdin is not None and self._server.stdout is not None
        out, err = said / "stdout", said / "stderr"
        asked = {"words": words, "folder": str(folder), "environment": dict(environment), "said": [str(out), str(err)]}
        self._server.stdin.write(json.dumps(asked).encode() + b"\n")
        self._server.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._server.stdout, selectors.EVENT_READ)
            assert selector.select(PROCESS_S), (words, out.read_text(), err.read_text())
        code = int(self._server.stdout.readline())
        return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())


def serve() -> None:
    """Fork a process for each line of stdin and write its exit code to stdout. In the forked process, run the verb."""
    from controlplane.cli.backups import contents, keys, looking, making, plane, pruning, reading, restoring  # noqa: F401
    from controlplane.cli.main import main

    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(json.loads(line))
            end(main)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def end(main: Callable[[], None]) -> NoReturn:
    """Run a program and end this process, as the interpreter would."""
    code = 1
    try:
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - told as the interpreter tells it
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the interpreter's end does
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _become(asked: Mapping[str, object]) -> None:
    words, folder, environment, said = (asked[name] for name in ("words", "folder", "environment", "said"))
    assert isinstance(words, list) and isinstance(folder, str) and isinstance(environment, dict)
    assert isinstance(said, list)
    for number, (path, flags) in enumerate(
        [(os.devnull, os.O_RDONLY), *((path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for path in said)]
    ):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["controlplane", *words]


if __name__ == "__main__":
    serve()
