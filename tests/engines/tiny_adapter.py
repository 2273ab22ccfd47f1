"""A random LoRA adapter of rank 8 for the model of tiny_transformer.py: `python tiny_adapter.py FOLDER SEED`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

RANK, WIDTH, LAYERS = 8, 64, 2
CONFIG = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": RANK,
    "lora_alpha": 2 * RANK,
    "lora_dropout": 0.0,
    "target_modules": ["q_proj", "v_proj"],
    "bias": "none",
    "base_model_name_or_path": "tiny",
    "inference_mode": True,
}


def main(folder: str, seed: int) -> None:
    """Write the adapter."""
    torch.manual_seed(seed)
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    shapes = {"A": (RANK, WIDTH), "B": (WIDTH, RANK)}
    weights = {
        f"base_model.model.model.layers.{layer}.self_attn.{part}_proj.lora_{side}.weight": torch.randn(shape) * 0.1
        for layer in range(LAYERS)
        for part in "qv"
        for side, shape in shapes.items()
    }
    save_file(weights, path / "adapter_model.safetensors")
    (path / "adapter_config.json").write_text(json.dumps(CONFIG))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
