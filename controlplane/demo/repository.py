"""Writes the demo's Triton model repository: model `model`, versions 1 and 2, version 1 serving."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

MODEL = "model"
VERSIONS = (1, 2)
FAULT_FILE = "triton-faults.json"

_CONFIG = """\
# Written by the demo. Version 1 serves; version 2 waits in its folder until it is promoted.
name: "{model}"
backend: "python"
max_batch_size: 0
model_transaction_policy {{ decoupled: true }}
version_policy {{ specific {{ versions: [ 1 ] }} }}
input [
  {{ name: "text_input" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "stream" data_type: TYPE_BOOL dims: [ 1 ] optional: true }},
  {{ name: "max_tokens" data_type: TYPE_INT32 dims: [ 1 ] optional: true }}
]
output [
  {{ name: "text_output" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "finish_reason" data_type: TYPE_STRING dims: [ 1 ] }}
]
model_warmup [
  {{
    name: "one short answer"
    batch_size: 0
    inputs {{ key: "text_input" value {{ data_type: TYPE_STRING dims: [ 1 ] zero_data: true }} }}
  }}
]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
parameters [
  {{ key: "token_seconds" value: {{ string_value: "{token_seconds:g}" }} }},
  {{ key: "streams" value: {{ string_value: "16" }} }},
  {{ key: "fault_file" value: {{ string_value: {fault_file} }} }}
]
"""


def write_repository(
    repository: Path, *, model: str = MODEL, token_seconds: float = 0.03, keep_config: bool = False
) -> Path:
    """Write `model` with versions 1 and 2 (policy `specific: [1]`) and return its fault file's path.

    `token_seconds` is the time between two streamed tokens. What lay under the model's name before is replaced, but
    with `keep_config` not its config.pbtxt, which says what was promoted.
    """
    folder = repository / model
    kept = folder / "config.pbtxt"
    before = kept.read_text() if keep_config and kept.exists() else None
    shutil.rmtree(folder, ignore_errors=True)
    fault_file = repository.parent / FAULT_FILE
    source = Path(__file__).with_name("streaming_model.py")
    for version in VERSIONS:
        target = folder / str(version)
        target.mkdir(parents=True)
        shutil.copyfile(source, target / "model.py")
    config = _CONFIG.format(model=model, token_seconds=token_seconds, fault_file=json.dumps(str(fault_file.resolve())))
    kept.write_text(config if before is None else before)
    return fault_file


def write_faults(fault_file: Path, slow: Mapping[int, float]) -> None:
    """Make versions answer late: version number -> seconds before the first token; empty clears. Seen within ~1 s."""
    temporary = fault_file.with_suffix(".tmp")
    temporary.write_text(json.dumps({"slow": {str(version): seconds for version, seconds in slow.items()}}))
    temporary.replace(fault_file)
