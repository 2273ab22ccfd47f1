"""Delivers by a program: the message is JSON on its standard input. No shell is involved.

Exit status 0: delivered. 65 (EX_DATAERR): the form is refused, so the program runs again with plain text. 64, 77 and 78
(EX_USAGE, EX_NOPERM, EX_CONFIG): final. Every other status is worth another try.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import cast

import orjson

from alerts.errors import DeliveryFailed
from alerts.interfaces import Message, MessageRef
from alerts.notify.card import render
from alerts.notify.payload import webhook_payload
from alerts.notify.plain import FormRefused, sent_or_plain
from alerts.notify.text import one_line, whole_lines

FORM_STATUS = 65
FINAL_STATUSES = frozenset({64, 77, 78})
NOT_RUN_STATUSES = frozenset({126, 127})
"""Exit statuses of a shell for a program that it cannot run or find."""
SHOWN_OUTPUT = 400
"""Characters of a program's output that an error shows: the last ones."""
KEPT_OUTPUT = 8192
"""Bytes of output that are kept."""
LAST_WORDS_S = 0.2
"""Seconds for which the output is read after the program's end."""
TEXT_LIMIT = 16 * 1024
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""Variables of this process that the program gets. The others may hold secrets."""


class CommandNotifier:
    """Implements alerts.interfaces.Notifier by running a program. An edit runs nothing."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        timeout_s: float = 10.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._command, self._timeout_s = tuple(command), timeout_s
        self._environment = dict(environment or {})

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        """Run the program with the message, and end it with all its children. Raises DeliveryFailed."""
        if message.edit:
            return None
        # In a thread: the fingerprints of thousands of alerts take a second.
        payload = await asyncio.to_thread(webhook_payload, message, self.name, message.console_url)
        content = {**payload, "messageId": message.id}
        card = render(message)

        async def as_json() -> None:
            await self._run(message, "json", orjson.dumps(content))

        async def as_text(_refused: FormRefused) -> None:
            await self._run(message, "text", whole_lines(card.paragraphs, TEXT_LIMIT).encode() + b"\n")

        _, note = await sent_or_plain(self.name, message, as_json, as_text)
        return MessageRef("", note)

    async def close(self) -> None:
        """Do nothing: a program lasts for one message."""

    async def _run(self, message: Message, form: str, content: bytes) -> None:
        told = {"CONTROLPLANE_MESSAGE_FORM": form, "CONTROLPLANE_MESSAGE_STATUS": message.status}
        passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment = {**passed_on, **self._environment, **told}
        try:
            program = await Program.start(self._command, environment)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            is_wrong = isinstance(error, FileNotFoundError | PermissionError | ValueError)
            raise DeliveryFailed(
                f"{self.name}: cannot run {self._command[0]}: {why}; check command:", permanent=is_wrong
            ) from None
        try:
            async with asyncio.timeout(self._timeout_s):
                status = await program.run(content)
        except TimeoutError:
            sentence = f"{self.name}: {self._command[0]} did not end within {self._timeout_s:g} s, and was killed"
            raise DeliveryFailed(f"{sentence}{_told(program.output)}") from None
        finally:
            await program.end()
        if status:
            raise self._failure(status, program.output)

    def _failure(self, status: int, output: bytearray) -> DeliveryFailed:
        how = f"ended by signal {-status}" if status < 0 else f"exit status {status}"
        # A file that is no program is run by the shell on uvloop, as execvp(3) does.
        cure = "; check command:" if status in NOT_RUN_STATUSES else ""
        sentence = f"{self.name}: {self._command[0]}: {how}{_told(output)}{cure}"
        if status == FORM_STATUS:
            return FormRefused(sentence)
        return DeliveryFailed(sentence, permanent=status in FINAL_STATUSES)


class Program(asyncio.SubprocessProtocol):
    """A running program. asyncio's own Process waits for all holders of its pipes; this ends with the program."""

    def __init__(self) -> None:
        self.output = bytearray()
        """The last KEPT_OUTPUT bytes that it wrote."""
        self._exited, self._silent = asyncio.Event(), asyncio.Event()
        self._transport: asyncio.SubprocessTransport | None = None

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str]) -> Program:
        """Start a program in a session of its own. Raises OSError and ValueError."""
        _, program = await asyncio.get_running_loop().subprocess_exec(
            cls, *command, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        return program

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keep the last of the output."""
        self.output += data
        del self.output[:-KEPT_OUTPUT]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Note that all output was read."""
        if fd == 1:
            self._silent.set()

    def process_exited(self) -> None:
        """Note the program's end."""
        self._exited.set()

    async def run(self, content: bytes) -> int:
        """Write the content, as far as the program reads it. Return the exit status; -N for a signal."""
        assert self._transport is not None
        pipe = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
        with contextlib.suppress(RuntimeError):  # on uvloop, when the program has closed its input
            pipe.write(content)
            pipe.write_eof()
        await self._exited.wait()
        # A child may hold the output open. What the program wrote before its end is in the pipe already.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._silent.wait(), LAST_WORDS_S)
        status = self._transport.get_returncode()
        assert status is not None
        return status

    async def end(self) -> None:
        """Kill the program and everything in its session, and wait for its end."""
        assert self._transport is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._transport.get_pid(), signal.SIGKILL)
        await self._exited.wait()
        self._transport.close()


def _told(output: bytes | bytearray) -> str:
    text = one_line(bytes(output).decode(errors="replace").strip())
    return f": {text if len(text) <= SHOWN_OUTPUT else '…' + text[-SHOWN_OUTPUT:]}" if text else ""
