"""A small S3 server over real sockets: list, get with ranges, head, put, multipart, delete, and conditions.

It runs on a loop and thread of its own, so that blocking code and other processes can use it. Credentials are not
checked. Faults are added by the test; `asked` has every request that came.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.fakes.s3.documents import (
    complete_document,
    deleted_document,
    error_document,
    list_document,
    named_keys,
    upload_document,
)
from tests.fakes.s3.faults import Fault, Kind, Operation
from tests.patience import HANG_S

BUCKET = "models"


@dataclass(frozen=True)
class Object:
    """One object."""

    data: bytes
    etag: str
    modified_at: float
    """Unix seconds."""


@dataclass
class Request:
    """One request."""

    method: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def operation(self) -> Operation:
        multipart = "uploadId" in self.query
        if self.method == "GET":
            return Operation.GET if self.key else Operation.LIST
        if self.method == "HEAD":
            return Operation.HEAD
        if self.method == "DELETE":
            return Operation.ABORT if multipart else Operation.DELETE
        if "delete" in self.query:
            return Operation.DELETE
        if self.method == "POST":
            return Operation.COMPLETE if multipart else Operation.BEGIN
        return Operation.PART if multipart else Operation.PUT

    @property
    def named(self) -> list[str]:
        """Keys that the body of DeleteObjects names."""
        return named_keys(self.body) if "delete" in self.query else []


@dataclass
class Answer:
    """One answer."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class S3Server:
    """Buckets in memory: every bucket's name is the same bucket."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.faults: list[Fault] = []
        self.asked: list[tuple[Operation, str]] = []
        self.ranges: list[tuple[str, int]] = []
        """Key and number of bytes of every body that was sent for a GET."""
        self.in_flight = self.most_in_flight = 0
        """Requests that are being answered, and the most of them at once."""
        self.ignores_conditions = False
        self.etags = True
        self.weak = False
        self.page = 1000
        """Keys of one page of a listing."""
        self.latency_s = 0.0
        self.stale: dict[str, Object] | None = None
        """What listings show instead of `objects`."""
        self.before: Callable[[Operation, str], None] = lambda operation, key: None
        """Called before each operation, on the server's thread."""
        self.now = 1_700_000_000.0
        self._uploads: dict[str, dict[int, bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.url = ""

    # -- what tests do beside the wire -----------------------------------------------------------------------------

    def put(self, key: str, data: bytes) -> None:
        """Put an object without a request."""
        self.now += 1.0
        etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        self.objects[key] = Object(data, f"W/{etag}" if self.weak else etag, self.now)

    def count(self, operation: Operation, key: str = "") -> int:
        """Return how many requests of an operation came for keys with this text."""
        return sum(one is operation and key in asked for one, asked in self.asked)

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which clients find the server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }

    # -- the wire --------------------------------------------------------------------------------------------------

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.append(writer)
        try:
            while (request := await _read(reader)) is not None:
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    if not await self._serve_one(request, writer):
                        return
                finally:
                    self.in_flight -= 1
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the server ends
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve_one(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Answer one request. Return whether the connection goes on."""
        operation = request.operation
        key = request.key or next(iter(request.named), "") or request.query.get("prefix", "")
        self.asked.append((operation, key))
        self.before(operation, key)
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        fault = next((one for one in self.faults if one.strikes(operation, key)), None)
        kind = fault.kind if fault else None
        if kind is Kind.RESET:
            return _reset(writer)
        if kind is Kind.HANG:
            await asyncio.Event().wait()
        if kind is Kind.GARBAGE:
            writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            return False
        if kind in _STATUS:
            answer = Answer(_STATUS[kind][0], error_document(_STATUS[kind][1], key))
        else:
            if kind is Kind.WHOLE:
                request.headers.pop("range", None)
            answer = self._do(operation, request)
        if kind is Kind.RESET_AFTER:
            return _reset(writer)
        if kind is Kind.LIE and answer.body:
            answer.body = answer.body[:-1] + bytes([answer.body[-1] ^ 1])
        if operation is Operation.GET and answer.status in (200, 206):
            self.ranges.append((request.key, len(answer.body)))
        cut = len(answer.body) // 2 if kind in (Kind.TRUNCATED, Kind.HANG_AFTER_HEAD) else None
        await _write(writer, answer, head_only=operation is Operation.HEAD, cut=cut)
        if kind is Kind.HANG_AFTER_HEAD:
            await asyncio.Event().wait()
        return cut is None

    # -- the operations --------------------------------------------------------------------------------------------

    def _do(self, operation: Operation, request: Request) -> Answer:
        act: dict[Operation, Callable[[Request], Answer]] = {
            Operation.LIST: self._list,
            Operation.GET: self._get,
            Operation.HEAD: self._get,
            Operation.PUT: self._put,
            Operation.DELETE: self._delete,
            Operation.BEGIN: self._begin,
            Operation.PART: self._part,
            Operation.COMPLETE: self._complete,
            Operation.ABORT: self._abort,
        }
        return act[operation](request)

    def _list(self, request: Request) -> Answer:
        objects = self.objects if self.stale is None else self.stale
        prefix, after = request.query.get("prefix", ""), request.query.get("continuation-token", "")
        keys = sorted(key for key in objects if key.startswith(prefix) and key > after)
        shown = {key: objects[key] for key in keys[: self.page]}
        return Answer(200, list_document(shown, prefix, etags=self.etags, more=len(keys) > self.page))

    def _get(self, request: Request) -> Answer:
        found = self.objects.get(request.key)
        if found is None:
            return Answer(404, error_document("NoSuchKey", request.key))
        wanted = request.headers.get("if-match")
        if wanted is not None and wanted != found.etag and not self.ignores_conditions:
            return Answer(412, error_document("PreconditionFailed", request.key))
        headers = {"Last-Modified": formatdate(found.modified_at, usegmt=True)}
        if self.etags:
            headers["ETag"] = found.etag
        if "range" not in request.headers:
            return Answer(200, found.data, headers)
        first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last or len(found.data)), len(found.data) - 1)
        if begin >= len(found.data):
            return Answer(416, error_document("InvalidRange", request.key))
        headers["Content-Range"] = f"bytes {begin}-{end}/{len(found.data)}"
        return Answer(206, found.data[begin : end + 1], headers)

    def _put(self, request: Request) -> Answer:
        there = request.key in self.objects
        if request.headers.get("if-none-match") == "*" and there and not self.ignores_conditions:
            return Answer(412, error_document("PreconditionFailed", request.key))
        self.put(request.key, request.body)
        return Answer(200, headers={"ETag": self.objects[request.key].etag})

    def _delete(self, request: Request) -> Answer:
        if request.method == "POST":
            for key in request.named:
                self.objects.pop(key, None)
            return Answer(200, deleted_document(request.named))
        self.objects.pop(request.key, None)
        return Answer(204)

    def _begin(self, request: Request) -> Answer:
        name = f"upload-{len(self._uploads)}"
        self._uploads[name] = {}
        return Answer(200, upload_document(name, request.key))

    def _part(self, request: Request) -> Answer:
        if request.query["uploadId"] not in self._uploads:
            return Answer(404, error_document("NoSuchUpload", request.key))
        self._uploads[request.query["uploadId"]][int(request.query["partNumber"])] = request.body
        return Answer(200, headers={"ETag": f'"{hashlib.md5(request.body, usedforsecurity=False).hexdigest()}"'})

    def _complete(self, request: Request) -> Answer:
        parts = self._uploads.pop(request.query["uploadId"], None)
        if parts is None:
            return Answer(404, error_document("NoSuchUpload", request.key))
        self.put(request.key, b"".join(parts[number] for number in sorted(parts)))
        return Answer(200, complete_document(request.key, self.objects[request.key].etag))

    def _abort(self, request: Request) -> Answer:
        self._uploads.pop(request.query["uploadId"], None)
        return Answer(204)

    async def end(self) -> None:
        """End every connection, also those that hang."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)  # the loop closes their sockets


_STATUS = {Kind.ERROR: (500, "InternalError"), Kind.SLOW_DOWN: (503, "SlowDown"), Kind.REFUSED: (403, "AccessDenied")}


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    start, *lines = head.split("\r\n")
    method, target, _ = start.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(f"http://host{target}")
    _, _, key = parts.path.removeprefix("/").partition("/")
    return Request(method, unquote(key), dict(parse_qsl(parts.query, keep_blank_values=True)), headers, body)


async def _write(writer: asyncio.StreamWriter, answer: Answer, *, head_only: bool, cut: int | None) -> None:
    lines = [f"HTTP/1.1 {answer.status} x", f"Content-Length: {len(answer.body)}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    if not head_only:
        writer.write(answer.body[:cut])
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> bool:
    with suppress(OSError):
        handle = writer.get_extra_info("socket")
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run a server on loopback, on a thread of its own, until the end of the block."""
    server, ready, stop = S3Server(), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=1 << 20)
        host, port = listening.sockets[0].getsockname()
        server.url = f"http://{host}:{port}"
        ready.set()
        await stop.wait()
        # asyncio's server breaks a connection that it is just accepting when it is closed.
        for one in listening.sockets:
            loop.remove_reader(one.fileno())
        for _ in range(5):
            await asyncio.sleep(0)
        listening.close()
        await server.end()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), name="s3", daemon=True)
    thread.start()
    try:
        assert ready.wait(HANG_S)
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(HANG_S)
        loop.close()
