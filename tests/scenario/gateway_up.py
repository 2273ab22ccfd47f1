"""A gateway as separate processes: started, asked, and read."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.patience import PROCESS_S
from tests.ports import free_address

ROOT = Path(__file__).parents[2]


def fleet_of(url: str, gateway: str = "", more: str = "") -> str:
    """Return a fleet.yaml with the model `chat` on one backend."""
    return (
        "fleet: {name: test}\n"
        f"gateway: {{name: gw, authentication: none, workers: 2{gateway}}}\n"
        "models:\n"
        "  - name: chat\n"
        "    stable: v1\n"
        "    traffic: {driver: none}\n"
        f'    versions: {{v1: {{backends: [{{url: "{url}", engine: vllm}}]}}}}\n{more}'
    )


def free_options() -> tuple[str, ...]:
    """Return options with addresses of their own, for gateways that follow each other on them."""
    return ("--listen", free_address(), "--admin", free_address())


class GatewayUp:
    """One supervisor and what it has logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.pid = process.pid
        self.log: list[str] = []
        self.port = self.admin = 0
        self._news = asyncio.Event()
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr
        while line := await self.process.stderr.readline():
            self.log.append(line.decode().rstrip())
            self._news.set()
        self._news.set()

    async def said(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until so many lines of the log match, and return the last match."""
        async with asyncio.timeout(PROCESS_S):
            while True:
                self._news.clear()
                found = [match for line in self.log if (match := re.search(pattern, line))]
                if len(found) >= times:
                    return found[times - 1]
                assert not self.reading.done(), (pattern, self.log)
                await self._news.wait()

    async def listens(self) -> None:
        """Wait until it serves."""
        self.admin = int((await self.said(r"admin on 127\.0\.0\.1:(\d+)"))[1])
        self.port = int((await self.said(r"listening on 127\.0\.0\.1:(\d+)"))[1])

    async def ended(self) -> int:
        """Wait for the end, and return the exit status."""
        async with asyncio.timeout(PROCESS_S):
            await self.process.wait()
            await self.reading
        assert self.process.returncode is not None
        return self.process.returncode

    async def health(self) -> dict[str, Any]:
        status, body = await get(self.admin, "/healthz")
        assert status == 200
        found: dict[str, Any] = json.loads(body)
        return found

    async def workers(self) -> list[int]:
        """Return the process ids of the workers that serve."""
        return [worker["pid"] for worker in (await self.health())["workers"] if worker["serves"]]


@asynccontextmanager
async def gateway_up(
    folder: Path, fleet: str | None = None, *options: str, wait: bool = True, env: Mapping[str, str] | None = None
) -> AsyncIterator[GatewayUp]:
    """Run a gateway with fleet.yaml and data folder in `folder`, on free ports unless the options say others.

    `env`: further variables of its environment.
    """
    if fleet is not None:
        (folder / "fleet.yaml").write_text(fleet)
    ports = () if options else ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "controlplane", "gateway", "-c", "fleet.yaml", "--data-dir", "data", *ports, *options),
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), **(env or {})},
        stderr=asyncio.subprocess.PIPE,
    )
    gateway = GatewayUp(process)
    try:
        if wait:
            await gateway.listens()
        yield gateway
    except BaseException:
        print(f"--- log of process {gateway.pid}", *gateway.log, sep="\n")
        raise
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            await asyncio.sleep(0)
            with suppress(ProcessLookupError):
                process.terminate()  # the second signal: no test waits for open streams
        await gateway.ended()


async def get(port: int, path: str) -> tuple[int, bytes]:
    """Return (status, body) of a GET."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), PROCESS_S)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def chat_request(*, stream: bool = False, close: bool = True) -> bytes:
    """Return the bytes of a chat request."""
    body = json.dumps({"model": "chat", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}).encode()
    last = b"Connection: close\r\n" if close else b""
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"%bContent-Length: %d\r\n\r\n%b" % (last, len(body), body)
    )


async def chat(port: int, tls: ssl.SSLContext | None = None) -> str:
    """Return the text of one chat completion, or the status and body of a refusal."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    writer.write(chat_request())
    answer = await asyncio.wait_for(reader.read(), PROCESS_S)
    writer.close()
    body = answer.partition(b"\r\n\r\n")[2]
    if not answer.startswith(b"HTTP/1.1 200"):
        return answer.decode("latin-1")
    content = json.loads(body)["choices"][0]["message"]["content"]
    return str(content)


class Stream:
    """A chat stream of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.got = b""

    @classmethod
    async def open(cls, port: int) -> Stream:
        """Ask for a stream and wait for its first token."""
        stream = cls(*await asyncio.open_connection("127.0.0.1", port))
        stream.writer.write(chat_request(stream=True))
        async with asyncio.timeout(PROCESS_S):
            while b'"first"' not in stream.got:
                more = await stream.reader.read(65536)
                assert more, stream.got
                stream.got += more
        return stream

    async def rest(self) -> bytes:
        """Return everything until the gateway closes the connection."""
        async with asyncio.timeout(PROCESS_S):
            with suppress(ConnectionResetError):
                while more := await self.reader.read(65536):
                    self.got += more
        self.writer.close()
        return self.got
