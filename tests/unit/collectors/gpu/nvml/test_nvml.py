"""GPUs through NVML: the real reader in its real child process, with a stand-in for libnvidia-ml.so.1."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from collectors.catalogue.mapping import canonical_layout, missing, present
from collectors.catalogue.model import load_catalogue
from collectors.errors import BodyTooLarge, CollectorError, NvmlUnavailable, ScrapeTimeout, Unreachable
from collectors.exposition.parser import parse
from collectors.gpu.nvml.source import NvmlSource
from collectors.http.exporter import run_exporter
from collectors.target import Target

pytestmark = pytest.mark.needs("gcc")

GPU0 = "GPU-00000000-0000-0000-0000-000000000000"
GPU1 = "GPU-00000000-0000-0000-0000-000000000001"
SLOW_S = 30.0
"""Deadline in seconds that no healthy read reaches, even on a busy machine."""

Build = Callable[..., Path]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory, fixtures: Path) -> Build:
    """Compile a stub library into a folder for LD_LIBRARY_PATH, without the functions in `without`."""
    built: dict[tuple[str, ...], Path] = {}

    def compile_stub(source: str = "nvml_stub.c", without: tuple[str, ...] = ()) -> Path:
        key = (source, *without)
        if key not in built:
            folder = tmp_path_factory.mktemp("nvml")
            hidden = [f"-D{name}=left_out_{name}" for name in without]
            library = str(folder / "libnvidia-ml.so.1")
            flags = ["-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", *hidden]
            subprocess.run(["gcc", *flags, "-o", library, str(fixtures / source)], check=True, capture_output=True)
            built[key] = folder
        return built[key]

    return compile_stub


@asynccontextmanager
async def source(folder: Path, **environ: Any) -> Any:
    """Yield an NvmlSource whose child loads the library in `folder`."""
    env = {**os.environ, "LD_LIBRARY_PATH": str(folder), **{k: str(v) for k, v in environ.items()}}
    nvml = NvmlSource(node="host-1", environ=env)
    try:
        yield nvml
    finally:
        await nvml.close()


@contextmanager
def fault(path: Path) -> Iterator[None]:
    path.touch()
    try:
        yield
    finally:
        path.unlink()


def samples(body: bytes) -> dict[tuple[str, ...], float]:
    """Return the samples: (name, gpu, values of other labels without node) -> value."""
    parsed = parse(body)
    found = {}
    for series, value in zip(parsed.series, parsed.values, strict=True):
        labels = dict(series.labels)
        assert labels.pop("node") == "host-1"
        found[(series.name, labels.pop("gpu"), *labels.values())] = float(value)
    return found


async def test_two_gpus_in_canonical_units(build: Build) -> None:
    async with source(build()) as nvml:
        read = samples(await nvml.read(SLOW_S))

    assert read[("gpu_up", GPU0)] == 1
    assert read[("gpu_up", GPU1)] == 1
    assert read[("gpu_utilization_ratio", GPU0)] == 0.73
    assert read[("gpu_memory_used_bytes", GPU0)] == 40 * 2**30
    assert read[("gpu_memory_reserved_bytes", GPU0)] == 600 * 2**20
    assert read[("gpu_memory_total_bytes", GPU0)] == 80 * 2**30
    assert (read[("gpu_temperature_celsius", GPU0)], read[("gpu_temperature_celsius", GPU1)]) == (61, 62)
    assert read[("gpu_power_watts", GPU0)] == 301.5
    assert read[("gpu_energy_joules_total", GPU0)] == 123456.789
    assert read[("gpu_errors_total", GPU0, "ecc_corrected")] == 3
    assert read[("gpu_errors_total", GPU0, "ecc_uncorrected")] == 0
    assert read[("gpu_throttle_active", GPU0, "power_cap")] == 1
    assert read[("gpu_throttle_active", GPU0, "hw_thermal")] == 0
    assert read[("gpu_info", GPU1, "999.00-stub", "1", "NVIDIA Stub 80GB")] == 1


async def test_everything_expected_of_nvml_arrives_under_its_canonical_name(build: Build) -> None:
    async with source(build()) as nvml:
        parsed = parse(await nvml.read(SLOW_S))
    target = Target("nvml", "local:nvml", job="nvml", instance="host-1")
    layout = canonical_layout(parsed.series, parsed.metadata, target, load_catalogue())

    assert missing(layout, load_catalogue(), "nvml") == ()
    unknown = {s.name for s in layout.raw if not load_catalogue().family(s.name)}
    assert unknown == set()


@pytest.mark.parametrize(("capture", "ratio", "watts"), [("idle", 0.0, (50, 200)), ("busy", 1.0, (500, 700))])
def test_what_a_real_h200_said_is_complete_and_plausible(
    fixtures: Path, capture: str, ratio: float, watts: tuple[float, float]
) -> None:
    parsed = parse((fixtures / f"nvml-h200-{capture}.prom").read_bytes())
    target = Target("nvml", "local:nvml", job="nvml", instance="host-1")
    layout = canonical_layout(parsed.series, parsed.metadata, target, load_catalogue())
    read = {s.name: float(v) for s, v in zip(parsed.series, parsed.values, strict=True)}

    native = set(load_catalogue().engines["nvml"].native)
    assert present(layout, load_catalogue()) == native
    assert read["gpu_utilization_ratio"] == ratio
    assert watts[0] < read["gpu_power_watts"] < watts[1]
    assert read["gpu_memory_total_bytes"] == 143771 * 2**20  # what nvidia-smi shows of an H200, in MiB
    assert read["gpu_memory_reserved_bytes"] < 2**30


async def test_an_xid_event_is_counted_once_and_stays_counted(build: Build) -> None:
    async with source(build(), NVML_STUB_XID=79) as nvml:
        for _ in range(2):
            read = samples(await nvml.read(SLOW_S))
            assert read[("gpu_errors_total", GPU0, "xid_79")] == 1
            assert read[("gpu_errors_total", GPU1, "xid_79")] == 0


async def test_a_gpu_lost_from_the_start_does_not_hide_its_sibling(build: Build) -> None:
    async with source(build(), NVML_STUB_LOST=1) as nvml:
        read = samples(await nvml.read(SLOW_S))

    assert read[("gpu_up", GPU0)] == 1
    assert read[("gpu_temperature_celsius", GPU0)] == 61
    assert read[("gpu_up", "index-1")] == 0
    assert [key[0] for key in read if key[1] == "index-1"] == ["gpu_up"]


async def test_a_gpu_lost_while_watched_is_down_under_its_own_name_and_comes_back(build: Build, tmp_path: Path) -> None:
    switch = tmp_path / "lost"
    async with source(build("nvml_stub_faults.c"), NVML_FAULT_LOST=switch) as nvml:
        assert samples(await nvml.read(SLOW_S))[("gpu_up", GPU1)] == 1
        with fault(switch):
            read = samples(await nvml.read(SLOW_S))
            assert read[("gpu_up", GPU0)] == 1
            assert read[("gpu_up", GPU1)] == 0
            assert ("gpu_memory_used_bytes", GPU1) not in read
            assert ("gpu_memory_used_bytes", GPU0) in read
            assert read[("gpu_errors_total", GPU1, "xid_79")] == 0
        assert samples(await nvml.read(SLOW_S))[("gpu_up", GPU1)] == 1


async def test_functions_that_the_driver_lacks_are_replaced_or_absent_never_zero(build: Build) -> None:
    older = build(
        without=(
            "nvmlDeviceGetMemoryInfo_v2",
            "nvmlDeviceGetTemperatureV",
            "nvmlDeviceGetCurrentClocksEventReasons",
            "nvmlDeviceGetTotalEnergyConsumption",
            "nvmlDeviceGetTotalEccErrors",
            "nvmlDeviceGetUtilizationRates",
            "nvmlEventSetCreate",
            "nvmlSystemGetDriverVersion",
        )
    )
    async with source(older) as nvml:
        read = samples(await nvml.read(SLOW_S))

    assert {key[0] for key in read} == {
        "gpu_up",
        "gpu_info",
        "gpu_memory_used_bytes",
        "gpu_memory_total_bytes",
        "gpu_temperature_celsius",
        "gpu_power_watts",
    }
    assert read[("gpu_temperature_celsius", GPU1)] == 62


async def test_a_host_without_gpus_answers_with_none(build: Build) -> None:
    async with source(build(), NVML_STUB_GPUS=0) as nvml:
        assert samples(await nvml.read(SLOW_S)) == {}


@pytest.fixture
def no_library(tmp_path: Path) -> Path:
    """Return a folder with a broken libnvidia-ml.so.1, so that there is no driver even on a host that has one."""
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"")
    return tmp_path


async def test_without_a_driver_the_words_are_plain(no_library: Path) -> None:
    async with source(no_library) as nvml:
        with pytest.raises(NvmlUnavailable, match=r"^no NVIDIA driver on this host$"):
            await nvml.read(SLOW_S)


@pytest.mark.parametrize(
    ("code", "words"),
    [(9, "^no NVIDIA driver on this host$"), (18, "^NVML does not start: ")],
    ids=["absent", "broken"],
)
async def test_a_driver_that_does_not_start_is_unavailable(build: Build, code: int, words: str) -> None:
    async with source(build(), NVML_STUB_INIT_RC=code) as nvml:
        with pytest.raises(NvmlUnavailable, match=words):
            await nvml.read(SLOW_S)


async def test_a_missing_driver_is_looked_for_again_only_after_a_minute(no_library: Path, build: Build) -> None:
    now = [100.0]
    environ = {**os.environ, "LD_LIBRARY_PATH": str(no_library)}
    nvml = NvmlSource(node="host-1", environ=environ, clock=lambda: now[0])
    try:
        with pytest.raises(NvmlUnavailable):
            await nvml.read(SLOW_S)
        (no_library / "libnvidia-ml.so.1").write_bytes((build() / "libnvidia-ml.so.1").read_bytes())
        now[0] = 159.0
        with pytest.raises(NvmlUnavailable):
            await nvml.read(SLOW_S)
        now[0] = 160.0
        assert samples(await nvml.read(SLOW_S))[("gpu_up", GPU0)] == 1
    finally:
        await nvml.close()


async def test_a_hanging_nvml_is_a_timeout_and_the_next_scrape_recovers(build: Build, tmp_path: Path) -> None:
    switch = tmp_path / "hang"
    async with source(build("nvml_stub_faults.c"), NVML_FAULT_HANG=switch) as nvml:
        await nvml.read(SLOW_S)
        with fault(switch), pytest.raises(ScrapeTimeout, match=r"NVML did not answer within 0\.5 s"):
            await nvml.read(0.5)
        assert samples(await nvml.read(SLOW_S))[("gpu_up", GPU0)] == 1


async def test_a_crashing_nvml_is_unreachable_and_the_next_scrape_recovers(build: Build, tmp_path: Path) -> None:
    switch = tmp_path / "crash"
    async with source(build("nvml_stub_faults.c"), NVML_FAULT_CRASH=switch) as nvml:
        await nvml.read(SLOW_S)
        with fault(switch), pytest.raises(Unreachable, match="process that reads NVML died"):
            await nvml.read(SLOW_S)
        assert samples(await nvml.read(SLOW_S))[("gpu_up", GPU0)] == 1


async def test_a_read_that_waits_for_another_does_not_kill_its_child(build: Build, tmp_path: Path) -> None:
    switch = tmp_path / "hang"
    async with source(build("nvml_stub_faults.c"), NVML_FAULT_HANG=switch) as nvml:
        with fault(switch):
            first = asyncio.create_task(nvml.read(SLOW_S))
            await asyncio.sleep(0)  # the first read holds the lock from here on
            with pytest.raises(ScrapeTimeout):
                await nvml.read(0.01)
        assert samples(await first)[("gpu_up", GPU0)] == 1


async def test_a_body_beyond_the_limit_is_refused(build: Build) -> None:
    environ = {**os.environ, "LD_LIBRARY_PATH": str(build())}
    nvml = NvmlSource(environ=environ, max_body_bytes=100)
    try:
        with pytest.raises(BodyTooLarge):
            await nvml.read(SLOW_S)
    finally:
        await nvml.close()


async def test_close_ends_the_child(build: Build) -> None:
    async with source(build()) as nvml:
        await nvml.read(SLOW_S)
        pid = nvml._child.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_the_exporter_serves_the_same_text(build: Build, tmp_path: Path) -> None:
    stop, url = asyncio.Event(), asyncio.get_running_loop().create_future()
    switch = tmp_path / "crash"
    async with source(build("nvml_stub_faults.c"), NVML_FAULT_CRASH=switch) as nvml:
        serving = asyncio.create_task(run_exporter("127.0.0.1:0", nvml, stop, url.set_result))
        async with aiohttp.ClientSession() as session:
            async with session.get(await url) as answer:
                assert answer.status == 200
                assert answer.headers["Content-Type"].startswith("text/plain; version=")
                assert samples(await answer.read())[("gpu_up", GPU1)] == 1
            with fault(switch):
                async with session.get(await url) as answer:
                    assert (answer.status, await answer.text()) == (
                        503,
                        "the process that reads NVML died; it restarts at the next scrape\n",
                    )
        stop.set()
        await serving


async def test_the_exporter_refuses_to_start_without_a_driver(no_library: Path) -> None:
    async with source(no_library) as nvml:
        with pytest.raises(NvmlUnavailable, match="no NVIDIA driver on this host"):
            await run_exporter("127.0.0.1:0", nvml, asyncio.Event(), lambda _url: None)


async def test_the_exporter_says_what_is_wrong_with_its_address(build: Build) -> None:
    async with source(build()) as nvml:
        with pytest.raises(CollectorError, match="expected host:port, such as"):
            await run_exporter("9401", nvml, asyncio.Event(), lambda _url: None)


def test_a_signal_ends_the_exporter_with_exit_code_0(build: Build) -> None:
    script = (
        "from collectors.gpu.nvml.exporter import serve_exporter\n"
        "serve_exporter('127.0.0.1:0', on_listening=lambda url: print(url, flush=True))"
    )
    environ = {**os.environ, "LD_LIBRARY_PATH": str(build())}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environ, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=SLOW_S) == 0
