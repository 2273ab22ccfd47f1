"""A real repository of backups with a few snapshots."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

VERSIONS = ("v2", "v3")


async def make_repository(folder: Path) -> None:
    """Make `repository` and `backup.key` in `folder`, and snapshots of two versions of its folder `models`."""
    access = ("--repository", str(folder / "repository"), "--key-file", str(folder / "backup.key"))
    for name in ("models", "datasets"):
        (folder / name).mkdir()
    await _run("backup", "init", *access)
    for number, version in enumerate(VERSIONS):
        (folder / "models" / "chat.safetensors").write_bytes(bytes([number]) * 3_000_000)
        (folder / "models" / f"config-{version}.json").write_text('{"layers": 80}')
        await _run("backup", "create", str(folder / "models"), "--name", "weights", "--version", version, *access)


async def _run(*words: str) -> None:
    pipe = asyncio.subprocess.PIPE
    made = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controlplane", *words), stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await made.communicate()
    assert made.returncode == 0, told.decode()
