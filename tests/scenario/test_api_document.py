"""The OpenAPI document against a running control plane, by schemathesis with all its checks."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.scenario.up import ROOT, TOKEN, up

EXAMPLES = 3
"""Random examples of each operation, beside those derived from the document: about a thousand requests in all."""
FLEET = """fleet: {name: test}
models:
  - name: chat
    stable: v1
    traffic: {driver: none}
    versions: {v1: {backends: [{url: "http://127.0.0.1:1", engine: vllm}]}, v2: {}}
"""


@pytest.mark.timeout(600)
async def test_every_answer_is_what_the_document_says(tmp_path: Path) -> None:
    async with up(tmp_path, FLEET) as (_, port):
        command = [
            f"--config-file={Path(__file__).with_name('schemathesis.toml')}",
            "run",
            f"http://127.0.0.1:{port}/openapi.json",
            f"--header=Authorization: Bearer {TOKEN}",
            "--checks=all",
            "--generation-deterministic",
            f"--max-examples={EXAMPLES}",
            "--suppress-health-check=all",  # of the machine's speed
            "--exclude-path=/cp/v1/events",  # a stream has no end
            "--request-timeout=120",
            "--no-color",
        ]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "schemathesis.cli",
            *command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.scenario.api_formats"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode(errors="replace")
    assert b"Tested: " in said
