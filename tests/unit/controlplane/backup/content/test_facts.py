"""Facts of a version's files, from real headers, and from headers and configurations that lie."""

from __future__ import annotations

import os
import pwd
import struct
from pathlib import Path

import orjson
import pytest

from controlplane.backup.content.adapters import base_of
from controlplane.backup.content.facts import facts_of
from controlplane.backup.content.files import content_files
from controlplane.backup.content.origin import origin_of
from controlplane.backup.content.reading import Reading, read_content
from controlplane.backup.errors import BackupError
from tests.fakes import tiny_gguf
from tests.unit.controlplane.backup.content.model_files import COMMIT, cached, model, safetensors
from tests.unit.controlplane.backup.world import write_files


def facts(root: Path, files: dict[str, bytes]) -> dict[str, str]:
    write_files(root, files)
    return facts_of(content_files(root))


def test_a_model_of_transformers(tmp_path: Path) -> None:
    assert facts(tmp_path, model()) == {
        "format": "safetensors",
        "quantisation": "BF16",
        "tensors": "2",
        "parameters": "600000",
        "architecture": "LlamaForCausalLM",
    }


def test_types_of_tensors_are_the_quantisation_where_nothing_names_one(tmp_path: Path) -> None:
    shards = {"a.safetensors": safetensors("F8_E4M3", 3), "b.safetensors": safetensors("BF16", 1)}
    found = facts(tmp_path, {**shards, "tiny.safetensors": safetensors("F32", 1, 10)})
    assert (found["quantisation"], found["tensors"]) == ("F8_E4M3 + BF16", "5")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq 4 bit"),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
            "bitsandbytes 4 bit nf4",
        ),
        ({"quant_method": "compressed-tensors", "format": "float-quantized"}, "compressed-tensors float-quantized"),
        ({}, "quantised"),
        ("odd", "BF16"),
    ],
)
def test_the_configuration_names_the_quantisation(tmp_path: Path, config: object, expected: str) -> None:
    files = {"config.json": orjson.dumps({"quantization_config": config}), "model.safetensors": safetensors()}
    assert facts(tmp_path, files)["quantisation"] == expected


def test_modelopt_names_its_quantisation_in_a_file_of_its_own(tmp_path: Path) -> None:
    files = {"hf_quant_config.json": b'{"quantization": {"quant_algo": "NVFP4"}}', "model.safetensors": safetensors()}
    assert facts(tmp_path, files)["quantisation"] == "NVFP4"


def test_a_real_gguf_file(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "tiny.gguf")
    found = facts_of(content_files(tmp_path))
    assert (found["format"], found["architecture"], found["tensors"]) == ("GGUF", "llama", "21")
    assert int(found["parameters"]) > 10_000
    assert "quantisation" not in found


@pytest.mark.parametrize(("number", "expected"), [(15, "Q4_K_M"), (1, "F16"), (999, "type 999")])
def test_the_file_type_of_gguf(tmp_path: Path, number: int, expected: str) -> None:
    key = b"general.file_type"
    pair = struct.pack("<Q", len(key)) + key + struct.pack("<II", 4, number)
    assert facts(tmp_path, {"a.gguf": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair})["quantisation"] == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"model.onnx": b"12", "model.onnx_data": b"123"}, "ONNX"),
        ({"model.plan": b"1"}, "TensorRT"),
        ({"rank0.engine": b"1", "config.json": b"{}"}, "TensorRT"),
        ({"model.py": b"a long program", "model.pt": b"1"}, "PyTorch"),
        ({"model.py": b"1"}, "Python"),
        ({"model.savedmodel/saved_model.pb": b"1"}, "TensorFlow"),
        ({"a.onnx": b"1", "a.plan": b"123"}, "TensorRT + ONNX"),
        ({"adapter_config.json": b"{}", "adapter_model.safetensors": b"1"}, "LoRA adapter, safetensors"),
    ],
)
def test_formats_by_names(tmp_path: Path, files: dict[str, bytes], expected: str) -> None:
    assert facts(tmp_path, files)["format"] == expected


def test_headers_and_configurations_that_lie_cost_only_facts(tmp_path: Path) -> None:
    odd = {"t": {"dtype": 7, "shape": [2]}, "u": 3, "v": {"dtype": "BF16", "shape": [-1, "x", 10**30]}}
    text = orjson.dumps({**odd, "v": {"dtype": "BF16", "shape": [-1, "x"]}})
    files = {
        "a.safetensors": struct.pack("<Q", len(text)) + text,
        "b.safetensors": struct.pack("<Q", 1 << 60),
        "c.gguf": b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60),
        "config.json": b"[",
        "hf_quant_config.json": b"[]",
    }
    assert facts(tmp_path, files) == {
        "format": "safetensors + GGUF",
        "quantisation": "BF16",
        "tensors": "1",
        "parameters": "1",
    }


def test_a_snapshot_of_the_cache_names_its_repository_and_commit(tmp_path: Path) -> None:
    snapshot = cached(tmp_path, model(), "org/chat--v2")
    (tmp_path / "v2").symlink_to(snapshot)
    for root in (snapshot, tmp_path / "v2"):
        assert origin_of(root, content_files(root))["origin"] == f"hf:org/chat/v2@{COMMIT}"


def test_a_download_to_a_folder_names_the_commit_that_all_its_files_have(tmp_path: Path) -> None:
    write_files(tmp_path, model())
    notes = {f".cache/huggingface/download/{n}.metadata": f"{COMMIT}\netag\n1.5\n".encode() for n in ("a", "b")}
    write_files(tmp_path, notes)
    assert origin_of(tmp_path, content_files(tmp_path))["origin"] == f"hf:@{COMMIT}"
    write_files(tmp_path, {".cache/huggingface/download/c.metadata": b"f" * 40})
    assert "origin" not in origin_of(tmp_path, content_files(tmp_path))


def test_other_files_name_their_owner_and_their_newest_change(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.bin": b"123", "b.bin": b"1"})
    os.utime(tmp_path / "a.bin", (1, 1_700_000_000))
    os.utime(tmp_path / "b.bin", (1, 1_800_000_000.9))
    assert origin_of(tmp_path, content_files(tmp_path)) == {
        "owner": pwd.getpwuid(os.getuid()).pw_name,
        "changed_at": "2027-01-15T08:00:00Z",
    }


def adapter(base: object, **more: object) -> dict[str, bytes]:
    config = {"base_model_name_or_path": base, "peft_type": "LORA", **more}
    return {"adapter_config.json": orjson.dumps(config), "adapter_model.safetensors": safetensors(columns=10)}


def test_an_adapter_records_the_digest_of_the_base_that_it_names_by_path(tmp_path: Path) -> None:
    write_files(tmp_path / "base", model())
    write_files(tmp_path / "law", adapter(str(tmp_path / "base")))
    content = read_content(tmp_path / "law")
    assert content.facts["base"] == str(tmp_path / "base")
    assert content.facts["base_digest"] == read_content(tmp_path / "base").digest
    write_files(tmp_path / "base", {"tokenizer.json": b"{}"})
    changed = read_content(tmp_path / "law")
    assert changed.digest == content.digest
    assert changed.facts["base_digest"] != content.facts["base_digest"]


def test_an_adapter_in_the_cache_finds_its_base_beside_it_or_in_the_cache_of_the_environment(tmp_path: Path) -> None:
    base = cached(tmp_path / "hub", model(), "org/base")
    expected = read_content(base).digest
    beside = cached(tmp_path / "hub", adapter("org/base"), "me/law")
    assert read_content(beside).facts["base_digest"] == expected
    write_files(tmp_path / "law", adapter("org/base", revision=COMMIT))
    usual = cached(tmp_path / ".cache" / "huggingface" / "hub", model(), "org/base")
    assert read_content(usual).digest == expected
    for environment in (
        {"HF_HUB_CACHE": str(tmp_path / "hub"), "HOME": "/nowhere"},
        {"HF_HOME": str(tmp_path)},
        {"XDG_CACHE_HOME": str(tmp_path / ".cache")},
        {"HOME": str(tmp_path)},
    ):
        assert read_content(tmp_path / "law", Reading(environment=environment)).facts["base_digest"] == expected


@pytest.mark.parametrize(
    ("base", "revision", "why"),
    [
        ("/nowhere/base", None, "there is no folder /nowhere/base on this machine"),
        ("org/base", None, "org/base at main is in no Hugging Face cache of this machine (no cache is known)"),
        ("org/base", "v9", "org/base at v9 is in no Hugging Face cache of this machine (no cache is known)"),
        ("a b c", None, "a b c is no absolute path and no repository of the Hugging Face Hub"),
        ("../../etc", None, "../../etc is no absolute path and no repository of the Hugging Face Hub"),
        (None, None, "adapter_config.json names no base model"),
        ("x\0", None, "its name is no path and no repository"),
    ],
)
def test_an_adapter_says_why_the_digest_of_its_base_is_not_known(
    tmp_path: Path, base: object, revision: str | None, why: str
) -> None:
    write_files(tmp_path / "law", adapter(base, revision=revision))
    found = read_content(tmp_path / "law").facts
    assert found["base_unknown"] == why
    assert "base_digest" not in found


def test_a_base_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    write_files(tmp_path / "law", adapter(str(tmp_path)))

    def fails(root: Path) -> str:
        raise BackupError("the disk is away")

    found = base_of(tmp_path / "law", content_files(tmp_path / "law"), {}, fails)
    assert found["base_unknown"] == f"{tmp_path} cannot be read: the disk is away"


def test_a_model_that_is_no_adapter_has_no_base(tmp_path: Path) -> None:
    write_files(tmp_path, model())
    assert not read_content(tmp_path).facts.keys() & {"base", "base_unknown", "base_digest"}
