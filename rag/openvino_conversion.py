"""Converts a sentence-transformers folder for OpenVINO, once per model: float32, and int8 with measured ranges."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .cache_folders import made_whole
from .calibration import TEXTS
from .models import EmbeddingModel
from .quantisation import quantise
from .silence import silent_transformers

if TYPE_CHECKING:
    import openvino

_LOG = logging.getLogger(__name__)

_ONLY_PADDING_MASKED = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
"""Architectures in which every token sees every token that is not padding."""
_MASKED = -1e4
"""Added to an attention score, it leaves no weight in float32; and no infinity, as the smallest number might."""


def convert(model: EmbeddingModel, folder: Path) -> None:
    """Write ``float32.xml`` and ``int8.xml`` (with their ``.bin``) into ``folder``, whole or not at all.

    The models take ``input_ids`` and ``attention_mask`` (int64 [B, T]) and give the last hidden state
    (float32 [B, T, D]).

    Raises:
        RuntimeError, ValueError: torch or OpenVINO cannot trace this architecture.
        OSError: the cache folder cannot be written.
    """
    import openvino

    _LOG.info("converting model %s for OpenVINO, once", model.name)
    with made_whole(folder) as fresh:
        float_model = _traced(model)
        openvino.save_model(float_model, fresh / "float32.xml", compress_to_fp16=False)
        int8_model = quantise(float_model, list(_calibration_batches(model)))
        openvino.save_model(int8_model, fresh / "int8.xml", compress_to_fp16=False)


def _traced(model: EmbeddingModel) -> openvino.Model:
    """The transformer as an OpenVINO graph, traced by torch."""
    import openvino
    import torch
    from transformers import AutoModel

    class LastHiddenState(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.inner(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    with warnings.catch_warnings(), silent_transformers():
        warnings.simplefilter("ignore")  # tracing warns of every shape it turns into a constant
        inner = AutoModel.from_pretrained(str(model.transformer), local_files_only=True, dtype=torch.float32).eval()
        ids_BT = torch.full((2, 16), 5, dtype=torch.int64)
        mask_BT = torch.ones_like(ids_BT)
        mask_BT[1, 10:] = 0
        shape = openvino.PartialShape([-1, -1])
        with torch.inference_mode():
            graph = openvino.convert_model(
                LastHiddenState(inner),
                example_input={"input_ids": ids_BT, "attention_mask": mask_BT},
                input=[("input_ids", shape, openvino.Type.i64), ("attention_mask", shape, openvino.Type.i64)],
            )
    if inner.config.model_type in _ONLY_PADDING_MASKED:
        _add_padding_mask(graph)
    return graph


def _add_padding_mask(graph: openvino.Model) -> None:
    """Give every attention a mask [B, 1, 1, T] to add, in place of the traced one [B, 1, T, T] to select by.

    The vectors are the same; the whole model takes about 3 % less time.
    """
    from openvino import opset13 as ops

    mask_B11T = ops.unsqueeze(graph.input("attention_mask"), ops.constant(np.array([1, 2])))
    padding = ops.subtract(ops.constant(np.float32(1)), ops.convert(mask_B11T, "f32"))
    added = ops.multiply(padding, ops.constant(np.float32(_MASKED)))
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "ScaledDotProductAttention":
            node.input(3).replace_source_output(added.output(0))
    graph.validate_nodes_and_infer_types()


def _calibration_batches(model: EmbeddingModel) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One text each, so that no padding is measured: ``input_ids`` and ``attention_mask``, int64 [1, T]."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model.transformer / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(model.max_tokens)
    for text in TEXTS:
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        yield ids, np.ones_like(ids)
