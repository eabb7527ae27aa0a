"""Runs a model through sentence-transformers in float32: the reference, and the fallback for all others."""

from __future__ import annotations

import threading

import numpy as np
from jaxtyping import Float, Int

from .errors import BackendUnavailable
from .models import EmbeddingModel


class TorchEngine:
    """An `Engine` over `sentence_transformers.SentenceTransformer`. Importing it costs seconds.

    Raises:
        BackendUnavailable: sentence-transformers cannot load the folder.
    """

    def __init__(self, model: EmbeddingModel) -> None:
        from sentence_transformers import SentenceTransformer

        try:
            self._model = SentenceTransformer(str(model.folder), device="cpu", local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise BackendUnavailable(
                f"model {model.name!r} cannot be loaded from {model.folder}: {_first_line(error)}"
            ) from error
        self.parallel = 1
        self._model.eval()
        self._lock = threading.Lock()

    def encode(
        self, ids_BT: Int[np.ndarray, "B T"], mask_BT: Int[np.ndarray, "B T"]
    ) -> tuple[Float[np.ndarray, "B D"], Float[np.ndarray, "B T D"]]:
        import torch

        features = {"input_ids": torch.from_numpy(ids_BT), "attention_mask": torch.from_numpy(mask_BT)}
        with self._lock, torch.inference_mode():
            outputs = self._model(features)
        return outputs["sentence_embedding"].float().numpy(), outputs["token_embeddings"].float().numpy()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
