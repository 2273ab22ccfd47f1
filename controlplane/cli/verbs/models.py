"""The verbs about versions of models: what is known of each, and the approval of its files."""

from __future__ import annotations

import re
from pathlib import Path

from controlplane.cli.verbs.grammar import Operand, Option, Verb
from controlplane.cli.verbs.options import AS, CLOSE, LISTING, MODEL


def _digest(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError("expected a digest of 64 hex digits, as `models versions -o json` prints it")
    return text


VERSIONS = (
    Verb(
        "models versions",
        "rollouts.versions:versions",
        "List every known version of a model: serving, on disk, in backups.",
        (MODEL,),
        LISTING,
        examples=(
            ("models versions chat", "digest, size, format, quantisation, and who put it there"),
            ("models versions chat -o json", "with every fact, the approvals, and the full digests"),
        ),
        details="Versions need `files:` in fleet.yaml to be read from disk, and `backup:` to be found in backups.",
    ),
    Verb(
        "models approve",
        "rollouts.versions:approve",
        "Approve the files of a version, so that it can be promoted although they changed.",
        (MODEL, Operand("version", "VERSION", "The version.", offers="versions")),
        (
            Option("digest", "Digest of the files; by default that of the files on disk.", "DIGEST", read=_digest),
            Option("reason", "Why, for the audit trail.", "TEXT", required=True),
            *CLOSE,
        ),
        examples=(
            ("models approve chat v2 --reason 'tokenizer fixed'", "what is on disk now"),
            ("models approve chat v2 --digest 3f2a… --reason 'built by CI'", "before the files are copied"),
        ),
    ),
    Verb(
        "models digest",
        "backups.contents:digest",
        "Print the digest and the facts of a version's files on this machine.",
        (Operand("path", "PATH", "Folder of a version, or its only file.", Path, offers="folders"),),
        (
            Option("memory", "Folder that remembers files that do not change.", "DIR", read=Path, offers="folders"),
            AS,
        ),
        examples=(("models digest /models/chat/2", ""),),
        details="Works without a control plane. Links are followed: the names count, and the bytes behind them.",
    ),
)
