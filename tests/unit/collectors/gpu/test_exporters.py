"""Pods of a GPU from the labels of exporters' samples."""

from __future__ import annotations

from pathlib import Path

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.exposition.parser import parse
from collectors.gpu.exporters import with_pods
from collectors.target import Target


def pods(body: bytes, engine: str = "dcgm") -> list[dict[str, str]]:
    """Return the labels of each canonical pod series, without those that every series of the target has."""
    parsed = parse(with_pods(body))
    target = Target(engine, "http://10.0.0.5:9400/metrics", engine, "10.0.0.5:9400")
    layout = canonical_layout(parsed.series, parsed.metadata, target, load_catalogue())
    assert layout.unknown_labels == ()
    views = [view for view in layout.views if view.series.name == "gpu_pod_info"]
    assert all(float(parsed.values[view.columns[0]]) * view.factor == 1 for view in views)
    common = {"engine", "instance", "source"}
    return [{k: v for k, v in view.series.labels if k not in common} for view in views]


def test_every_pod_of_a_shared_gpu_has_a_series(fixtures: Path) -> None:
    found = pods((fixtures / "dcgm-handwritten.prom").read_bytes())
    of_gpu = {"gpu": "GPU-bbbb", "node": "node-7", "namespace": "ml", "container": "vllm"}
    assert {**of_gpu, "pod": "chat-0"} in found
    assert {**of_gpu, "pod": "chat-1"} in found


def test_a_slice_of_a_gpu_has_its_own_pod() -> None:
    labels = 'gpu="0",UUID="GPU-a",GPU_I_PROFILE="1g.10gb",Hostname="n1",namespace="ml"'
    body = "".join(
        f'DCGM_FI_DEV_FB_USED{{{labels},GPU_I_ID="{n}",pod="chat-{n}",container="c"}} {n}00\n' for n in (7, 8)
    )
    assert [(each["gpu"], each["pod"]) for each in pods(body.encode())] == [
        ("GPU-a/GI7", "chat-7"),
        ("GPU-a/GI8", "chat-8"),
    ]


def test_a_gpu_without_pods_and_one_with_empty_labels_have_none(fixtures: Path) -> None:
    page = (fixtures / "field" / "dcgm-1x-names.prom").read_bytes()
    assert with_pods(page) == page
    assert with_pods(b"") == b""


def test_a_page_of_an_exporter_that_gives_only_temperatures_is_enough() -> None:
    body = b'DCGM_FI_DEV_GPU_TEMP{UUID="GPU-a",Hostname="n1",pod="p",namespace="n",container="c"} 40'
    assert [(each["pod"], each["namespace"]) for each in pods(body)] == [("p", "n")]


def test_braces_and_quotes_in_other_labels_end_nothing() -> None:
    body = b'DCGM_FI_DEV_FB_USED{modelName="a\\"}, pod=\\"x",UUID="GPU-a",pod="p"} 1\n'
    assert [each["pod"] for each in pods(body)] == ["p"]


def test_a_broken_page_stays_as_it_is() -> None:
    body = b'DCGM_FI_DEV_FB_USED{UUID="GPU-a,pod="p"\nDCGM_FI_DEV_FB_USED{' + b'"' * 1000
    assert with_pods(body) == body


def test_amds_exporter_names_pods_too(fixtures: Path) -> None:
    gpu = {"gpu": "ccff74a1-0000-1000-80e0-c6d49f5b0d80", "node": "tw038"}
    found = pods((fixtures / "amd-handwritten.prom").read_bytes(), "amd")
    assert found == [{**gpu, "namespace": "ml", "pod": "chat-0", "container": "vllm"}]
    prefixed = b'amd_gpu_total_vram{gpu_uuid="u",hostname="n",pod="p",namespace="ns",container="c"} 1\n'
    assert [each["pod"] for each in pods(prefixed, "amd")] == ["p"]
