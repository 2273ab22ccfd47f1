"""One worker: `python -m controlplane.gateway.process.worker FD`, started by the supervisor.

FD is its end of the control channel. The worker survives its supervisor: when the channel ends, it stops to accept,
finishes its open requests, and ends.

    from the supervisor    begin, desired (a body), serve, veto, drain, cut
    to the supervisor      started, applied, refused, serving, status, log, ended
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import signal
import socket
import sys
from typing import Any

import uvloop

from controlplane.gateway.desired.codec import decode
from controlplane.gateway.desired.document import Desired
from controlplane.gateway.errors import BadDesired, GatewayError
from controlplane.gateway.process.assembly import DataPath
from controlplane.gateway.process.begin import Begin
from controlplane.gateway.process.channel_log import ChannelHandler
from controlplane.gateway.process.control import Channel, Frame

log = logging.getLogger("controlplane.gateway.process.worker")
"""Not __name__, which is __main__ in a worker."""

STATUS_S = 0.5
"""Seconds between two messages about the state. Chosen: twice as often as the gateway reports."""
GC_THRESHOLDS = (50_000, 20, 50)
"""Thresholds of the garbage collector. A request makes few cycles, and a search delays every open stream."""


class Worker:
    """Serves requests on the sockets that the supervisor names, with the desired state that it hands out."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.channel = Channel(self._take, self._alone)
        self.handler = ChannelHandler(self.channel)
        self.done = asyncio.Event()
        self._path: DataPath | None = None
        self._begin: Begin | None = None
        self._sockets: list[socket.socket] = []
        self._serving: set[int] = set()
        self._desired: Desired | None = None
        self._work: asyncio.Queue[Frame] = asyncio.Queue()
        self._draining: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Do what the supervisor says, one message after another, until the end of a drain."""
        tasks: list[asyncio.Task[Any]] = [
            self._loop.create_task(work) for work in (self._obey(), self._tell(), self.done.wait())
        ]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            for task in tasks:
                task.cancel()

    def drain(self) -> None:
        """Stop to accept, finish what is open, and end."""
        if self._draining is None:
            within_s = self._begin.drain_timeout_s if self._begin else 0.0
            self._draining = self._loop.create_task(self._drain(within_s), name="drain")

    def _take(self, frame: Frame) -> None:
        # A drain and a cut do not wait behind a desired state.
        match frame.head.get("type"):
            case "drain":
                self.drain()
            case "cut":
                self._loop.create_task(self._cut(), name="cut").add_done_callback(_raise)
            case _:
                self._work.put_nowait(frame)

    def _alone(self) -> None:
        if self.done.is_set():
            return
        self.handler.alone = True
        log.warning("the gateway's supervisor is gone: this worker finishes %d open requests and ends", self._open())
        self.drain()

    async def _obey(self) -> None:
        while True:
            frame = await self._work.get()
            match frame.head.get("type"):
                case "begin":
                    self._start(Begin.of(frame.head))
                case "desired":
                    await self._apply(frame)
                case "serve":
                    await self._serve(set(frame.head["sockets"]))
                case "veto":
                    self._veto(frame.head["seconds"])

    def _start(self, begin: Begin) -> None:
        logging.getLogger().setLevel(begin.level)
        self._begin = begin
        self._sockets = [socket.socket(fileno=fd) for fd in begin.sockets]
        self._path = DataPath(begin, self._loop)
        gc.collect()
        gc.freeze()
        self.channel.send({"type": "started"})

    async def _apply(self, frame: Frame) -> None:
        assert self._path is not None
        revision = frame.head["revision"]
        try:
            # Ten thousand keys take a while: in a thread, so that open streams go on.
            desired = await asyncio.to_thread(decode, frame.body)
            self._path.apply(desired, self._loop.time())
        except (BadDesired, GatewayError) as error:
            self._refuse(revision, str(error))
        except Exception as bug:
            log.exception("a desired state cannot be applied")
            self._refuse(revision, f"internal error ({type(bug).__name__})")
        else:
            self._desired = desired
            self.channel.send({"type": "applied", "revision": revision})
            self._say_status()

    def _refuse(self, revision: str, why: str) -> None:
        """Go back to the state before, which some part may have left already."""
        if self._path is not None and self._desired is not None:
            self._path.apply(self._desired, self._loop.time())
        self.channel.send({"type": "refused", "revision": revision, "why": why})

    async def _serve(self, numbers: set[int]) -> None:
        assert self._path is not None
        if self._draining is not None:
            return
        for number in sorted(numbers - self._serving):
            await self._path.server.start(self._sockets[number])
        for number in sorted(self._serving - numbers):
            await self._path.server.stop(self._sockets[number])
        self._serving = numbers
        self.channel.send({"type": "serving", "sockets": sorted(numbers)})

    def _veto(self, seconds: dict[str, float]) -> None:
        assert self._path is not None
        now = self._loop.time()
        for url, lasts in seconds.items():
            self._path.chooser.vetoes.say(url, now + lasts)

    async def _drain(self, within_s: float) -> None:
        ended: dict[str, Any] = {"type": "ended", "finished": 0, "cut": 0, "tokens_cut": 0}
        if self._path is not None:
            report = await self._path.server.drain(within_s, self._close_sockets)
            await self._path.close()
            ended |= {"finished": report.finished, "cut": report.cut, "tokens_cut": report.tokens_cut}
        self.channel.send(ended)
        self.done.set()
        self.channel.close()

    def _close_sockets(self) -> None:
        """Let go of the sockets: the last process to close one ends it, and new connections are refused."""
        for each in self._sockets:
            each.close()

    async def _cut(self) -> None:
        self.drain()
        if self._path is not None:
            await self._path.server.close()

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(STATUS_S)
            self._say_status()

    def _say_status(self) -> None:
        if self._path is not None:
            status = {"open": self._open(), "connections": self._path.server.connections}
            self.channel.send({"type": "status", **status, "models": self._path.recorder.counted()})

    def _open(self) -> int:
        return self._path.server.open_requests if self._path else 0


def _raise(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.result()


async def _main(fd: int) -> int:
    loop = asyncio.get_running_loop()
    worker = Worker(loop)
    logging.basicConfig(level=logging.INFO, handlers=[worker.handler], force=True)
    logging.captureWarnings(True)
    # Terminals and service managers signal every process of a group. The supervisor decides what that means.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    await loop.create_connection(lambda: worker.channel, sock=socket.socket(fileno=fd))
    try:
        await worker.run()
    except GatewayError as error:
        log.error("%s", error)
        worker.done.set()
        worker.channel.close()
        await asyncio.sleep(0)
        return 1
    return 0


def main() -> None:
    """Serve until the supervisor says that it is enough, or is gone."""
    if sys.stderr is not None:
        faulthandler.enable()
    gc.set_threshold(*GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(_main(int(sys.argv[1]))))


if __name__ == "__main__":
    main()
