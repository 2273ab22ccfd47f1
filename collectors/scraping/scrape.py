"""Scrapes targets, with one independent task per target, so that no target waits for another.

    tick -> Source.read (one deadline) -> LayoutCache -> SampleSink, and the report series `up`, `scrape_…`

The samples of a scrape have its scheduled time. A tick that could not start in time is skipped, never queued.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from collectors.engines.kinds import AUTO
from collectors.errors import BodyTooLarge, ScrapeError, ScrapeTimeout
from collectors.exposition.layout_cache import LayoutCache, Shapes
from collectors.exposition.parser import Limits, Parsed
from collectors.overrun import overrun
from collectors.samples import FloatArray, Layout, SampleSink
from collectors.scraping.engine_of import EngineOf, Recognise
from collectors.scraping.report import report_key, report_layout
from collectors.scraping.ticks import hashed_offset, next_tick
from collectors.scraping.turns import Turns
from collectors.scraping.unmade import recipe_or_fault
from collectors.target import Lack, Recognition, Remarking, Source, SourceRecipe, Target, TargetHealth

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_THREAD_BYTES = 128 * 1024
"""Bodies above this size (some 1,500 samples, 25 ms for a full parse with its layout) are parsed in another thread."""
_OVERRUN_S = 1.0
"""Seconds after its deadline at which a source is cancelled. A source that ends earlier gives a better message."""
_AT_ONCE = 20
"""Number of targets that are started or stopped before the event loop may do something else: some 10 ms."""
_CLOSE_S = 5.0
"""Maximum duration of closing a source, in seconds."""


def _batched(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Yield the items in parts of at most `size`, in their order."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


class Clock(Protocol):
    """Wall-clock time. It is injected, so that tests can set it."""

    def now(self) -> float:
        """Return unix seconds."""
        ...


@dataclass
class ScrapeCounters:
    """Counters of scraping since its start, for the control plane's own metrics."""

    scrapes: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Failed scrapes by reason. `internal` is a bug of ours."""
    skipped_ticks: int = 0
    duplicate_samples: int = 0
    """Samples left out because they repeat a series of the same body, as exposed or after relabelling."""
    unstorable_samples: int = 0
    """Samples left out because their names or labels hold a NUL, which no database stores."""


@dataclass(frozen=True)
class _Outcome:
    """Result of one scrape. It failed if there is no layout. `values` is float64 of shape (series,)."""

    layout: Layout | None = None
    values: FloatArray | None = None
    scraped: int = 0
    """Samples of the body."""
    body_bytes: int = 0
    error: str = ""
    reason: str = ""


class _Setup(NamedTuple):
    """Everything that determines how a target is scraped. A change of any part restarts the target's task."""

    target: Target
    recipe: SourceRecipe
    limits: Limits


class _Scraper:
    """Scrapes one target. Keeps the state that the next scrape is compared with."""

    def __init__(self, setup: _Setup, manager: ScrapeManager, *, live: bool) -> None:
        self.setup, self.target = setup, (target := setup.target)
        self._engine = EngineOf(target, manager.recognise, manager.remembered)
        self.health = TargetHealth(target, recognised=self._engine.recognised)
        self._key, self._report_key = target.key, report_key(target)
        self.live = live
        """Whether the sink holds series of this target without staleness markers."""
        self._manager = manager
        self._source: Source | None = None
        self._cache = LayoutCache(self._layout_of, setup.limits, manager.shapes)
        self._layout: Layout | None = None
        self._lack = Lack()
        self._present: tuple[bool, ...] = ()
        """Whether the last good scrape had each of the expected metrics."""
        self._report_layout = report_layout(self._engine.target)
        self._reported: tuple[str, tuple[str, ...]] = (self._engine.target.engine, ())
        """Kind of engine and expected metrics of the report's layout."""
        self._body_bytes = 0
        self._logged: set[str] = set()
        self._busy = asyncio.Lock()

    async def scrape(self, at: float) -> None:
        """Scrape once, for the scheduled time `at`. Raises only CancelledError."""
        async with self._busy:
            try:
                await self._scrape(at)
            except Exception as bug:  # noqa: BLE001 - the task boundary: one target's bug must not end its scraping
                self._manager.counters.failures["internal"] += 1
                kind = type(bug).__name__
                self._log_once(kind, logging.ERROR, f"internal error ({kind}); logged once", exc_info=bug)

    async def close(self) -> None:
        """Release the source."""
        if self._source:
            await self._source.close()

    async def _scrape(self, at: float) -> None:
        started, moved_s = self._manager.monotonic(), self._manager.moved_s
        # Recorded when an unexpected error is raised: the target must not look alive then.
        outcome: _Outcome | None = _Outcome(error="internal error, see the log of the control plane", reason="internal")
        self._body_bytes = 0
        try:
            outcome = await self._read()
        except ScrapeError as error:
            outcome = _Outcome(body_bytes=self._body_bytes, error=str(error), reason=error.reason)
            self._manager.counters.failures[error.reason] += 1
        except asyncio.CancelledError:
            outcome = None
            raise
        finally:
            if outcome:
                # If the clock was set during the read, the row gets the time on the new clock.
                at += self._manager.moved_s - moved_s
                self._record(at, self._manager.monotonic() - started, outcome)

    def _layout_of(self, parsed: Parsed) -> Layout:
        return self._manager.layout_builder(self._engine.look(parsed), parsed)

    async def _read(self) -> _Outcome:
        self._engine.may_read()
        self._source = self._source or self.setup.recipe.made()
        try:
            async with overrun(self.target.timeout_s, _OVERRUN_S):
                body = await self._source.read(self.target.timeout_s)
        except TimeoutError:
            raise ScrapeTimeout(f"timed out after {self.target.timeout_s:g}s") from None
        self._body_bytes = len(body)
        self._engine.check(body)
        if len(body) > _THREAD_BYTES:
            # A parse in a thread yields the interpreter to the event loop every few milliseconds. On the loop itself
            # it would stall all other targets and their deadlines until its end.
            layout, values = await self._manager.in_thread(self._cache.read, body)
            await self._manager.turns.take()
        else:
            await self._manager.turns.take()
            layout, values = self._cache.read(body)
        left = layout.picked.left if layout.picked else self._cache.samples
        if 0 < self.target.sample_limit < left:
            raise BodyTooLarge(f"{left} samples after metric_relabel_configs, more than the sample_limit of the job")
        return _Outcome(layout, values, self._cache.samples, len(body))

    def _record(self, at: float, duration_s: float, outcome: _Outcome) -> None:
        sink, timestamp_ms = self._manager.sink, round(at * 1000)
        samples = left = added = 0
        self._manager.counters.scrapes += 1
        up = outcome.layout is not None
        if outcome.layout is not None and outcome.values is not None:
            samples, added = len(outcome.values), self._adopt(outcome.layout)
            left = outcome.layout.picked.left if outcome.layout.picked else outcome.scraped
            sink.append(self._key, outcome.layout, timestamp_ms, outcome.values)
            self.live = True
            self._note_what_is_left_out(left - samples)
        elif self.live:
            sink.end(self._key, timestamp_ms)
            self.live = False
        report = (up, duration_s, outcome.scraped, left, added, outcome.body_bytes, *self._present)
        row = np.array(report, dtype=np.float64)
        sink.append(self._report_key, self._report_layout, timestamp_ms, row)
        health, before = "up" if up else "down", self.health
        missing, instead, _ = self._lack if up else Lack()
        same = before.health == health and before.missing == missing and bool(before.samples) == bool(samples)
        worse_before = before.health == "down" or before.samples == 0 or bool(set(before.missing) - set(missing))
        remark = self._source.remark if up and isinstance(self._source, Remarking) else ""
        if remark and remark != before.remark:
            _log.warning("target %s: %s", _name(self.target), remark)
        if before.health != health:
            _log.info("target %s is %s", _name(self.target), health if up else f"down: {outcome.error}")
        self.health = TargetHealth(
            self.target,
            health,
            last_error=outcome.error,
            last_error_reason=outcome.reason,
            remark=remark or (self._engine.found.remark if up else ""),
            last_scrape_at=at,
            last_good_at=at if up else before.last_good_at,
            duration_s=duration_s,
            samples=samples if up else None,
            missing=missing,
            instead=instead,
            unknown_labels=self._layout.unknown_labels if up and self._layout else (),
            unstorable=len(self._cache.unstorable) if up else 0,
            duplicates=self._cache.duplicates + left - samples if up else 0,
            since=before.since if same else at,
            known_since=before.known_since if same else self._manager.now(),
            recovered=up and (before.recovered if same else worse_before),
            recognised=self._engine.recognised,
        )

    def _adopt(self, layout: Layout) -> int:
        """Store this layout for the next comparison; return the number of series that the last one lacked."""
        if layout is self._layout:
            return 0
        known = set(self._layout.raw) if self._layout else set()
        self._layout = layout
        target = self._engine.target
        self._lack = lack = self._manager.find_lack(target, layout)
        self._present = tuple(name not in lack.metrics for name in lack.expected)
        if self._reported != (target.engine, lack.expected):
            if self._reported[0] != target.engine:
                _log.info("target %s is recognised as %s", _name(self.target), target.engine)
            self._reported = (target.engine, lack.expected)
            self._report_layout = report_layout(target, lack.expected)
        return len(set(layout.raw) - known)

    def _note_what_is_left_out(self, made_equal: int) -> None:
        if lines := self._cache.unstorable:
            self._manager.counters.unstorable_samples += len(lines)
            words = f"line {lines[0]} holds a NUL, which no database stores: it is left out, with {len(lines) - 1} more"
            self._log_once("unstorable", logging.WARNING, words)
        if repeated := self._cache.duplicates:
            self._manager.counters.duplicate_samples += repeated
            self._log_once("duplicates", logging.WARNING, f"repeats series on {repeated} lines; the first counts")
        if made_equal:
            self._manager.counters.duplicate_samples += made_equal
            words = f"metric_relabel_configs make {made_equal} series equal to others of the target; the first counts"
            self._log_once("made equal", logging.WARNING, words)

    def _log_once(self, topic: str, level: int, text: str, exc_info: BaseException | None = None) -> None:
        if topic not in self._logged:
            self._logged.add(topic)
            _log.log(level, "target %s: %s", _name(self.target), text, exc_info=exc_info)


def _name(target: Target) -> str:
    # For the log. The URL is left out because its parameters may hold a credential.
    return f"{target.job}/{target.instance}"


InThread = Callable[..., Awaitable[Any]]
"""Runs a blocking call in another thread: (call, arguments…) -> its result."""


class ScrapeManager:
    """Runs one scraping task per target. All methods must be called on one event loop."""

    def __init__(
        self,
        sink: SampleSink,
        recipe_of: Callable[[Target], SourceRecipe],
        layout_builder: Callable[[Target, Parsed], Layout],
        clock: Clock,
        limits: Limits | None = None,
        *,
        find_lack: Callable[[Target, Layout], Lack] = lambda _target, _layout: Lack(),
        recognise: Recognise = lambda _names, known: Recognition(known),
        remembered: Callable[[Target], str] = lambda _target: AUTO,
        offset: Callable[[Target], float] = hashed_offset,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        in_thread: InThread = asyncio.to_thread,
    ) -> None:
        """Nothing starts before `apply`.

        `layout_builder` runs once per layout. For large bodies `in_thread` runs it in another thread, so it must not
        share state. `find_lack` returns what a layout lacks, for TargetHealth. `recognise` tells the engine of a target
        whose engine is `auto`, and `remembered` what it was recognised as when this manager was not there yet.
        """
        self.sink, self.layout_builder, self._recipe_of = sink, layout_builder, recipe_of
        self.limits = limits or Limits()
        self.recognise, self.remembered = recognise, remembered
        self.find_lack, self.monotonic, self.in_thread = find_lack, monotonic, in_thread
        self.counters = ScrapeCounters()
        self.moved_s = 0.0
        """Seconds by which the clock was set since the start."""
        self.shapes = Shapes()
        self._clock, self._offset, self._sleep = clock, offset, sleep
        self._scrapers: dict[str, _Scraper] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.turns = Turns()
        self._changing = asyncio.Lock()

    async def apply(self, targets: Iterable[Target]) -> None:
        """Scrape exactly these targets from now on: start new targets, stop removed ones, keep unchanged ones.

        A target whose settings, recipe or limits changed under the same key is restarted, and its series go on. The
        series of a removed target get staleness markers. Of several targets with one key, the first counts.
        """
        # Before the first await, so that recipes and limits are of the same configuration as the targets.
        wanted: dict[str, _Setup] = {}
        for target in targets:
            if target.key not in wanted:
                wanted[target.key] = self._setup(target)
        async with self._changing:
            stopped = [s for key, s in self._scrapers.items() if wanted.get(key) != s.setup]
            for batch in _batched(stopped, _AT_ONCE):
                await asyncio.gather(*(self._stop(scraper) for scraper in batch))
            live = {scraper.target.key for scraper in stopped if scraper.live}
            now_ms = round(self._clock.now() * 1000)
            for scraper in stopped:
                if scraper.target.key not in wanted:
                    self.sink.end(scraper.target.key, now_ms)
                    self.sink.end(report_key(scraper.target), now_ms)
            fresh = [key for key in wanted if key not in self._scrapers]
            for keys in _batched(fresh, _AT_ONCE):
                for key in keys:
                    self._scrapers[key] = scraper = _Scraper(wanted[key], self, live=key in live)
                    name = f"scrape {scraper.target.job}"
                    self._tasks[key] = asyncio.create_task(self._run(scraper), name=name)
                await asyncio.sleep(0)

    def clock_was_set(self, by_s: float) -> None:
        """Move stored times after `clock` was set forward by `by_s` seconds (negative: back)."""
        self.moved_s += by_s
        for scraper in self._scrapers.values():
            scraper.health = scraper.health.moved_by(by_s)

    def now(self) -> float:
        """Return unix seconds."""
        return self._clock.now()

    def health(self) -> list[TargetHealth]:
        """Return the health of every target, ordered by key."""
        return [self._scrapers[key].health for key in sorted(self._scrapers)]

    async def close(self) -> None:
        """Stop all scraping. No series is marked stale: the end of the control plane says nothing about a target."""
        async with self._changing:
            await asyncio.gather(*(self._stop(scraper) for scraper in list(self._scrapers.values())))

    def _setup(self, target: Target) -> _Setup:
        return _Setup(target, recipe_or_fault(self._recipe_of, target), self.limits)

    async def _stop(self, scraper: _Scraper) -> None:
        key = scraper.target.key
        del self._scrapers[key]
        if task := self._tasks.pop(key, None):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        # An error or a hang in close() must not affect other targets.
        (fault,) = await asyncio.gather(asyncio.wait_for(scraper.close(), _CLOSE_S), return_exceptions=True)
        if fault:
            _log.warning("target %s: its source did not close: %s", _name(scraper.target), type(fault).__name__)

    async def _run(self, scraper: _Scraper) -> None:
        target, last = scraper.target, None
        offset_s = self._offset(target)
        while True:
            now = self._clock.now()
            at = next_tick(now, last, target.interval_s, offset_s)
            if last is not None:
                self.counters.skipped_ticks += max(0, round((at - last) / target.interval_s) - 1)
            moved_s = self.moved_s
            await self._sleep(at - now)
            # If the clock was set meanwhile, the tick moves with it and is neither early nor late.
            at += self.moved_s - moved_s
            last = at
            if self._clock.now() - at < target.interval_s:
                await scraper.scrape(at)
            else:  # woken far too late, such as after a suspend: the values would not be of the scheduled time
                self.counters.skipped_ticks += 1
