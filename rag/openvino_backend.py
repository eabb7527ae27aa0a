"""Runs a model through OpenVINO, in float32 or int8, from a converted copy in the cache folder."""

from __future__ import annotations

import os
import queue
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from ..config.paths import cache_dir
from .errors import BackendUnavailable
from .models import EmbeddingModel, fingerprint
from .openvino_core import import_quietly, shared_core

if TYPE_CHECKING:
    from openvino import InferRequest

_FORMAT = 2
"""Raised when conversion or quantisation changes, so that older copies in the cache are not used."""
_MOST_STREAMS = 4
"""Batches run side by side, each on its share of the cores: threads that split one batch mostly wait for each other."""
_REMEMBERED_KERNELS = 100
"""Prepared kernels kept per stream; OpenVINO's own 5,000 hold some 4 MB for every shape of a batch ever seen."""


class OpenVinoEngine:
    """An `Engine` over the ``openvino`` package; converts the model on its first use on this machine.

    Only the conversion imports torch. ``quantised`` multiplies in int8 with float32 accumulation of the rest.

    Raises:
        BackendUnavailable: openvino is not installed, or cannot convert or compile this model.
    """

    def __init__(self, model: EmbeddingModel, quantised: bool) -> None:
        try:
            openvino = import_quietly()
        except ImportError as error:
            raise BackendUnavailable(f"openvino is not installed ({error})") from error
        try:
            path = _converted(model, quantised)
            streams = min(os.cpu_count() or 1, _MOST_STREAMS)
            options = {
                "INFERENCE_PRECISION_HINT": "f32",
                "NUM_STREAMS": str(streams),
                "CPU_RUNTIME_CACHE_CAPACITY": str(_REMEMBERED_KERNELS),
            }
            compiled = shared_core().compile_model(path, "CPU", options)
            # Two threads that are the first to ask for an array wait for each other for ever: openvino 2026.4 then
            # holds the lock of its import of numpy while it waits for Python's. So one thread asks beforehand.
            _ = openvino.Tensor(np.zeros(1, dtype=np.float32)).data
        except (RuntimeError, OSError, ValueError, ImportError) as error:
            reason = str(error).strip().split("\n", 1)[0]
            raise BackendUnavailable(f"openvino cannot run model {model.name!r}: {reason}") from error
        self.parallel = streams
        self._pooling = model.pooling
        self._requests: queue.SimpleQueue[InferRequest] = queue.SimpleQueue()
        for _ in range(streams + 1):  # one more, so that a query need not wait for an ingest's batches
            self._requests.put(compiled.create_infer_request())

    def encode(
        self, ids_BT: Int[np.ndarray, "B T"], mask_BT: Int[np.ndarray, "B T"]
    ) -> tuple[Float[np.ndarray, "B D"], Float[np.ndarray, "B T D"]]:
        request = self._requests.get()
        try:
            request.infer({"input_ids": ids_BT, "attention_mask": mask_BT})
            hidden_BTD = np.array(request.get_output_tensor(0).data, dtype=np.float32)
        finally:
            self._requests.put(request)
        if self._pooling == "cls":
            return hidden_BTD[:, 0], hidden_BTD
        weights_B1T = mask_BT[:, None, :].astype(np.float32)
        pooled_BD = np.matmul(weights_B1T, hidden_BTD)[:, 0] / weights_B1T.sum(axis=2)
        return pooled_BD, hidden_BTD


def _converted(model: EmbeddingModel, quantised: bool) -> Path:
    """The converted model's file; made when missing."""
    folder = cache_dir() / "embedding" / f"{fingerprint(model)}-openvino{_FORMAT}"
    path = folder / ("int8.xml" if quantised else "float32.xml")
    if not path.is_file():
        from .openvino_conversion import convert

        convert(model, folder)
    return path
