"""LoRA adapters made of given factors, in PEFT's format, without PEFT."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

Factors = Mapping[str, tuple[torch.Tensor, torch.Tensor]]

Q, V, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj", "model.layers.1.mlp.down_proj"


def lora(
    directory: Path,
    factors: Factors,
    *,
    saved: Mapping[str, torch.Tensor] | None = None,
    tensors: Mapping[str, torch.Tensor] | None = None,
    **settings: Any,
) -> Path:
    """Write an adapter: factors by module, tensors that were trained in full, others as they are, and settings."""
    directory.mkdir(parents=True)
    stored = {f"base_model.model.{name}": tensor.contiguous() for name, tensor in (saved or {}).items()}
    for module, (a, b) in factors.items():
        stored[f"base_model.model.{module}.lora_A.weight"] = a.contiguous()
        stored[f"base_model.model.{module}.lora_B.weight"] = b.contiguous()
    save_file(stored | dict(tensors or {}), directory / "adapter_model.safetensors")
    ranks = {module: a.shape[0] for module, (a, _) in factors.items()}
    rank = next(iter(ranks.values()), 8)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "someone/base",
        "r": rank,
        "lora_alpha": 2 * rank,
        "rank_pattern": {module: other for module, other in ranks.items() if other != rank},
        "target_modules": sorted({module.rpartition(".")[2] for module in factors}),
    }
    (directory / "adapter_config.json").write_text(json.dumps(config | settings))
    return directory


def pair(rank: int, inputs: int, outputs: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A and B of a module, drawn from a normal distribution."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rank, inputs, generator=generator), torch.randn(outputs, rank, generator=generator)


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file."""
    from safetensors.torch import load_file

    return load_file(path)
