"""Repairs pages of exporters of GPUs: removes dcgm-exporter's blank values, and writes down which pods have a GPU.

Blank values are numbers that stand for "no value". Pods are labels of every sample of their GPU. Samples that repeat
one number are stored once, so each pod gets a sample of its own.
"""

from __future__ import annotations

import re

from collectors.target import Source

# DCGM's blank values (dcgm_structs.h): BLANK, NOT_FOUND, NOT_SUPPORTED and NOT_PERMISSIONED, for a 64-bit integer
# (printed as an integer or converted to a float) and for a double. Old exporters print them.
_BLANK = re.compile(
    rb"^(?:DCGM|dcgm)_[^\n]*[ \t](?:922337203685477579[2-5](?:\.0+)?|9\.22337203685477\d*e\+18"
    rb"|14073748835532[89]\.0+|14073748835533[01]\.0+)"
    rb"(?:[ \t][^\n]*)?(?:\n|\Z)",
    re.MULTILINE,
)
_PER_GPU = tuple(
    re.compile(rb"^" + name + rb"\{((?:[^\"\n}]|\"(?:[^\"\\\n]|\\[^\n])*\")*)\}", re.MULTILINE)
    for name in (b"DCGM_FI_DEV_FB_USED", b"DCGM_FI_DEV_GPU_TEMP", b"dcgm_gpu_temp", b"(?:amd_)?gpu_total_vram")
)
"""Label sets of metrics with one sample for each GPU, MIG instance and pod. The first one that has pods counts."""
_HAS_POD = re.compile(rb"(?:^|,)pod=\"[^\"]")
_HINTS = (b"922337203685477579", b"9.22337203685477", b"1407374883553")


def without_blanks(body: bytes) -> bytes:
    """Return the exposition without samples that have a blank value: absent is not 9.2e18 MiB."""
    if not any(hint in body for hint in _HINTS):
        return body
    return _BLANK.sub(b"", body)


def with_pods(body: bytes) -> bytes:
    """Return the exposition with a sample `exporter_pod_info` of value 1 for each pod of a GPU, with its labels."""
    if b'pod="' not in body:  # of most pages, and found faster than by the patterns
        return body
    sets = (dict.fromkeys(filter(_HAS_POD.search, pattern.findall(body))) for pattern in _PER_GPU)
    if not (pods := next(filter(None, sets), None)):
        return body
    ended = body if body.endswith(b"\n") else body + b"\n"
    return (
        ended + b"# TYPE exporter_pod_info gauge\n" + b"".join(b"exporter_pod_info{%s} 1\n" % labels for labels in pods)
    )


def repaired(body: bytes) -> bytes:
    """Return the exposition without blank values, and with a sample for each pod of a GPU."""
    return with_pods(without_blanks(body))


class GpuExporterSource:
    """Source of the metrics of an exporter of GPUs, repaired. It leaves pages of other programs as they are."""

    def __init__(self, inner: Source) -> None:
        self._inner = inner

    async def read(self, timeout_s: float) -> bytes:
        """Return the inner source's body, repaired. Raises the errors of the inner source."""
        return repaired(await self._inner.read(timeout_s))

    async def close(self) -> None:
        """Close the inner source."""
        await self._inner.close()
