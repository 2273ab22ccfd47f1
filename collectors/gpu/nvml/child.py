"""The process that talks to NVML: `python -m collectors.gpu.nvml.child`.

Protocol: each line on stdin gets one answer on stdout: `<status> <length>\n` and that many bytes. With status `ok` the
bytes are an exposition. With `unavailable` they are a sentence, and the process ends: a new driver needs a new process.
"""

from __future__ import annotations

import os
import platform
import sys

from collectors.errors import NvmlUnavailable
from collectors.gpu.nvml.reader import GpuCollector, read_exposition, start_nvml


def main() -> int:
    """Answer read requests until stdin ends."""
    # Output that the driver's libraries print to stdout must not mix with the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    collector: GpuCollector | None = None
    for _ in sys.stdin.buffer:
        status = b"ok"
        try:
            if collector is None:
                start_nvml()
                collector = GpuCollector(os.environ.get("NVML_NODE") or platform.node())
            body = read_exposition(collector)
        except NvmlUnavailable as error:
            status, body = b"unavailable", str(error).encode()
        answers.write(b"%s %d\n" % (status, len(body)) + body)
        answers.flush()
        if status != b"ok":
            break
    return 0


if __name__ == "__main__":
    sys.exit(main())
