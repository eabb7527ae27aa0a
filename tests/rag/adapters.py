"""Random adapters over the tiny embedding model, and what a merged network's hidden states are by another library."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

RANK, ALPHA, WIDTH = 4, 8, 32
MAX_TOKENS, QUESTION_TOKENS = 40, 8


def write_adapter(
    folder: Path, base: Path, *, deviation: float = 0.2, head: str = "score", scores: int = 1, **config: object
) -> Path:
    """A random adapter on every linear map of the layers of ``base``, in PEFT's layout."""
    rng = np.random.default_rng(0)
    weights = load_file(base / "model.safetensors")
    width = weights["embeddings.word_embeddings.weight"].shape[1]
    tensors = {f"{head}.weight": rng.normal(0, 1, (scores, width)), f"{head}.bias": rng.normal(0, 1, scores)}
    for name, values in weights.items():
        if name.startswith("encoder") and values.ndim == 2:
            module = name.removesuffix(".weight")
            tensors[f"{module}.lora_A.weight"] = rng.normal(0, deviation, (RANK, values.shape[1]))
            tensors[f"{module}.lora_B.weight"] = rng.normal(0, deviation, (values.shape[0], RANK))
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {f"base_model.model.{name}": values.astype(np.float16) for name, values in tensors.items()},
        folder / "adapter_model.safetensors",
    )
    settings = {
        "peft_type": "LORA", "task_type": "SEQ_CLS", "r": RANK, "lora_alpha": ALPHA, "bias": "none",
        "base_model_name_or_path": f"owner/{base.name}",
        "capibara_pairs": {"max_tokens": MAX_TOKENS, "question_tokens": QUESTION_TOKENS},
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings | config))
    return folder


def tensors_of(adapter: Path) -> dict[str, np.ndarray]:
    """float32, by their names in the base."""
    return {
        name.removeprefix("base_model.model."): values.astype(np.float32)
        for name, values in load_file(adapter / "adapter_model.safetensors").items()
    }


def hidden_states(adapter: Path, base: Path, rows: list[list[int]]) -> list[np.ndarray]:
    """Of rows of tokens, in torch: merged weights, one row at a time; [T, D] each."""
    import torch
    from transformers import BertModel

    tensors = {name: torch.from_numpy(values) for name, values in tensors_of(adapter).items()}
    model = BertModel.from_pretrained(base, add_pooling_layer=False).eval()
    for name, parameter in model.named_parameters():
        module = name.removesuffix(".weight")
        if f"{module}.lora_A.weight" in tensors:
            change = tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"]
            parameter.data += ALPHA / RANK * change
    with torch.inference_mode():
        return [model(torch.tensor([row])).last_hidden_state[0].numpy() for row in rows]
