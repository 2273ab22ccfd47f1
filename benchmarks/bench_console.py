"""The console at 1,000 targets and 10,000 alerts: its first page, 200 open consoles, and Alertmanager beside it.

    python benchmarks/bench_console.py [--models 30] [--gpus 300] [--targets 1000] [--alerts 10000] [--consoles 200]

A seeded fleet runs as a process of its own. Once it has started and settled, pages are asked for as a browser does
after signing in: milliseconds from request to last byte, and bytes; the assets are counted once, compressed. Then the
control plane is left alone for a while, and after that so many consoles are open: each holds an event stream, asks for
the live part of its page every 5 s, and once more after an event. Cost is CPU time and memory of the control plane and
its children from /proc, less that without consoles. Last, Debian's Alertmanager holds as many alerts, and is asked for
what its own page asks for.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from bench_alerts import alertmanager, post
from common.contenders import ROOT, Contender, free_address

POLL_S, CALM_S, AFTER_EVENT_S = 5.0, 1.0, 0.05
"""As `controlplane/web/static/js/live.js` has them."""
REPEATS = 15
SETTLE_S = 20.0
PAGES = ("/", "/models/chat", "/alerts", "/targets", "/rollouts")
REFRESH = {"HX-Request": "true", "HX-Target": "live"}
TABS = 20
"""Consoles of one session: the most event streams that one may have (`controlplane/api/events.py`)."""


@dataclass(frozen=True)
class Fleet:
    """The seeded world."""

    url: str
    token: str
    """An operator's."""
    other: str
    """A viewer's: the streams of one token are bounded, too."""
    plane: Contender
    """The control plane, a child of the world's process."""


@contextmanager
def world(asked: argparse.Namespace) -> Iterator[Fleet]:
    """Run the seeded fleet, and end it."""
    command = [sys.executable, "-m", "tests.e2e.bad_day", "--listen", free_address()]
    for name in ("models", "gpus", "targets", "alerts"):
        command += [f"--{name}", str(getattr(asked, name))]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _started(process)
        finally:
            process.terminate()
            process.wait()


def _started(process: subprocess.Popen[str]) -> Fleet:
    url, tokens = "", dict[str, str]()
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.match(r"(http://\S+) after", line):
            url = found[1]
        if line.strip().startswith(("operator", "viewer")):
            tokens[line.split()[0]] = line.split()[1]
        if line.startswith("Press"):
            break
    pids = [pid for pid in _children(process.pid) if "controlplane" in _command(pid)]
    assert url and len(tokens) == 2 and len(pids) == 1, (url, pids)
    return Fleet(
        url, tokens["operator"], tokens["viewer"], Contender("control plane", pids[0], url.removeprefix("http://"))
    )


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


async def signed_in(fleet: Fleet, token: str) -> str:
    """Return the cookie of a session."""
    async with aiohttp.ClientSession() as session:
        form = {"token": token, "next": "/"}
        async with session.post(f"{fleet.url}/sign-in", data=form, allow_redirects=False) as answer:
            assert answer.status == 303, await answer.text()
            return answer.headers["Set-Cookie"].partition(";")[0]


async def first_pages(fleet: Fleet, cookie: str) -> None:
    """Print how long each page takes, how large it is, and the size of the assets."""
    headers = {"Cookie": cookie, "Accept": "text/html", "Accept-Encoding": "gzip"}
    async with aiohttp.ClientSession(headers=headers, auto_decompress=False) as session:
        body = ""
        for path in PAGES:
            seconds, size = [], 0
            for _ in range(REPEATS):
                await asyncio.sleep(1.1)  # longer than a snapshot of the fleet is used again
                began = time.perf_counter()
                async with session.get(fleet.url + path) as answer:
                    data = await answer.read()
                seconds.append(time.perf_counter() - began)
                assert answer.status == 200, (path, answer.status)
                size = len(data)
                body = body or data.decode()
            middle, worst = 1000 * statistics.median(seconds), 1000 * max(seconds)
            print(f"{path:16} median {middle:6.0f} ms, longest {worst:6.0f} ms, {size / 1000:7.1f} kB")
        assets = 0
        for asset in set(re.findall(r'(?:href|src)="(/static/[^"#]+)"', body)) | _modules():
            async with session.get(fleet.url + asset) as answer:
                assets += len(await answer.read())
        print(f"{'assets, once':16} {assets / 1000:.1f} kB compressed")


def _modules() -> set[str]:
    folder = ROOT / "controlplane" / "web" / "static" / "js"
    return {f"/static/js/{path.name}" for path in folder.glob("*.js")}


class Console:
    """One open page, as live.js keeps it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, cookie: str) -> None:
        self._session, self._url, self._headers = session, url, {"Cookie": cookie}
        self._heard = asyncio.Event()
        self.refreshes, self.failed, self.cut, self.seconds = 0, 0, 0, list[float]()

    async def run(self) -> None:
        """Listen and refresh until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._refresh())

    async def _listen(self) -> None:
        while True:
            with suppress(aiohttp.ClientError):
                stream = f"{self._url}/cp/v1/events"
                forever = aiohttp.ClientTimeout()
                async with self._session.get(stream, headers=self._headers, timeout=forever) as answer:
                    async for line in answer.content:
                        if line.startswith(b"event:"):
                            self._heard.set()
            self.cut += 1
            await asyncio.sleep(2)

    async def _refresh(self) -> None:
        await asyncio.sleep(random.uniform(0, POLL_S))
        while True:
            began = time.perf_counter()
            try:
                async with self._session.get(f"{self._url}/", headers=REFRESH | self._headers) as answer:
                    await answer.read()
                    self.failed += answer.status != 200
            except aiohttp.ClientError:
                self.failed += 1
            self.refreshes += 1
            self.seconds.append(time.perf_counter() - began)
            try:
                async with asyncio.timeout(POLL_S):
                    await self._heard.wait()
                await asyncio.sleep(max(AFTER_EVENT_S, CALM_S - (time.perf_counter() - began)))
            except TimeoutError:
                pass
            self._heard.clear()


async def open_consoles(fleet: Fleet, count: int, seconds: float) -> None:
    """Print what open consoles cost the control plane, beyond what it uses without them."""
    await asyncio.sleep(SETTLE_S)
    before = fleet.plane.cpu_s()
    await asyncio.sleep(seconds)
    alone, memory = fleet.plane.cpu_s(), fleet.plane.memory()["Pss"]
    cookies = [await signed_in(fleet, (fleet.token, fleet.other)[n % 2]) for n in range(-(-count // TABS))]
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        consoles = [Console(session, fleet.url, cookies[n // TABS]) for n in range(count)]
        tasks = [asyncio.create_task(console.run()) for console in consoles]
        await asyncio.sleep(SETTLE_S)
        opened = fleet.plane.cpu_s()
        refreshes = sum(console.refreshes for console in consoles)
        await asyncio.sleep(seconds)
        after, more = fleet.plane.cpu_s(), (fleet.plane.memory()["Pss"] - memory) / 2**20
        dead = [task for task in tasks if task.done()]
        assert not dead, dead[0]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    idle, busy = (alone - before) / seconds, (after - opened) / seconds
    took = sorted(second for console in consoles for second in console.seconds)
    done, failed = sum(c.refreshes for c in consoles) - refreshes, sum(c.failed for c in consoles)
    cut = sum(c.cut for c in consoles)
    print(f"{count} open consoles: {busy - idle:.2f} of a core more ({busy:.2f} with, {idle:.2f} without them),")
    print(f"  {more:.0f} MiB more; {done / seconds:.0f} refreshes/s, {failed} failed, {cut} streams cut,")
    print(f"  a refresh takes {1000 * statistics.median(took):.0f} ms, 99% {1000 * took[int(0.99 * len(took))]:.0f} ms")


def beside_alertmanager(fleet: Fleet, cookie: str, alerts: int) -> None:
    """Print the time and bytes of the page of alerts, ours and Alertmanager's."""
    path = "/api/v2/alerts/groups?silenced=false&inhibited=false&muted=false&active=true"  # as its page asks
    with tempfile.TemporaryDirectory() as folder, alertmanager(Path(folder) / "am", "http://127.0.0.1:1") as other:
        post(other, alerts, alerts // 20)
        time.sleep(SETTLE_S)
        found = {
            "control plane": _timed(f"{fleet.url}/alerts", {"Cookie": cookie, "Accept": "text/html"}),
            "Alertmanager": _timed(f"http://{other.address}{path}", {}),
        }
    for name, (seconds, size) in found.items():
        print(f"{alerts} alerts, page of {name}: {1000 * seconds:.0f} ms, {size / 1000:.0f} kB")
    (ours, our_size), (theirs, their_size) = found["control plane"], found["Alertmanager"]
    print(f"ratio to Alertmanager: time {ours / theirs:.2f}, bytes {our_size / their_size:.3f}")


def _timed(url: str, headers: dict[str, str]) -> tuple[float, int]:
    assert urllib.parse.urlparse(url).scheme == "http"
    seconds, size = [], 0
    for _ in range(REPEATS):
        time.sleep(1.1)
        began = time.perf_counter()
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            size = len(answer.read())
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), size


async def measure(asked: argparse.Namespace, fleet: Fleet) -> str:
    """Run the parts that need a loop, and return the session's cookie."""
    cookie = await signed_in(fleet, fleet.token)
    await asyncio.sleep(SETTLE_S)  # a control plane that starts reads its history, and no person waits for that
    await first_pages(fleet, cookie)
    await open_consoles(fleet, asked.consoles, asked.seconds)
    return cookie


def main() -> None:
    """Run the comparison, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = {"models": 30, "gpus": 300, "targets": 1000, "alerts": 10_000, "consoles": 200}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the world is ended, too
    with world(asked) as fleet:
        cookie = asyncio.run(measure(asked, fleet))
        beside_alertmanager(fleet, cookie, asked.alerts)


if __name__ == "__main__":
    main()
