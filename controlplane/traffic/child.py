"""Commands of an operator, run without a shell: a bounded output, a deadline, and no process left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

MAX_BYTES = 2**20
"""Default for the most bytes that a command may write on one stream."""


@dataclass(frozen=True)
class Done:
    """The end of a command."""

    code: int | None
    """Exit status, negative for a signal. None: it did not start, or was ended for its time or its output."""
    output: bytes = b""
    error: str = ""
    """Standard error."""
    fault: str = ""
    """Why `code` is None, in words."""
    started: bool = True
    """Whether the command began. False: nothing happened."""


async def run(
    command: Sequence[str],
    *,
    timeout_s: float,
    given: bytes = b"",
    environment: Mapping[str, str] | None = None,
    most: int = MAX_BYTES,
) -> Done:
    """Run a command with `given` on standard input, and return its end. Never raises for what the command does.

    The command has its own process group, which is killed as a whole when the time is over, the output too long, or
    the caller cancelled. `most` is the number of bytes that it may write on one stream. `environment` replaces this
    process's; None: it inherits.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=None if environment is None else dict(environment),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return Done(None, fault=f"{command[0]} could not be started: {error}", started=False)
    try:
        async with asyncio.timeout(timeout_s):
            output, error_text, _ = await asyncio.gather(
                _read(process.stdout, most), _read(process.stderr, most), _write(process.stdin, given)
            )
            code = await process.wait()
    except TimeoutError:
        return Done(None, fault=f"{command[0]} did not end within {timeout_s:g} s and was killed")
    except _TooMuchError:
        return Done(None, fault=f"{command[0]} wrote more than {most} bytes and was killed")
    finally:
        await _end(process)
    return Done(code, output, error_text.decode("utf-8", "replace"))


class _TooMuchError(Exception):
    """A command wrote too much on one stream."""


async def _read(stream: asyncio.StreamReader | None, most: int) -> bytes:
    assert stream is not None  # a pipe was asked for
    chunks: list[bytes] = []
    size = 0
    while chunk := await stream.read(65536):
        size += len(chunk)
        if size > most:
            raise _TooMuchError
        chunks.append(chunk)
    return b"".join(chunks)


async def _write(stream: asyncio.StreamWriter | None, given: bytes) -> None:
    assert stream is not None  # a pipe was asked for
    with suppress(BrokenPipeError, ConnectionResetError):  # a command need not read its input
        stream.write(given)
        await stream.drain()
    stream.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what is left of the process group: a command's children may outlive it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # wait() ends when the pipes are closed too, and a child that left the group may hold them open for ever.
    process._transport.close()  # type: ignore[attr-defined]
    await process.wait()
