"""What every checkpoint format gives: a configuration, weights by one set of names, tokenizer and chat template."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from .architecture import DecoderConfig
from .tokenizer import TextTokenizer


class Checkpoint(Protocol):
    """A model at rest. Weights have the names of Hugging Face's Llama (``model.layers.0.self_attn.q_proj.weight``).

    So do those of other families, however these store them. Norms after attention and feed-forward are named as in
    Gemma 2, experts as in Qwen3-MoE (``model.layers.0.mlp.experts.0.gate_proj.weight``, the router ``mlp.gate``).
    """

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> DecoderConfig: ...

    @property
    def fingerprint(self) -> str:
        """Changes when the weights may have changed; fit for a file name."""
        ...

    def tensor(self, name: str) -> np.ndarray:
        """One weight as float32, matrices as [outputs, inputs], rotary pairs split in halves, norms as they multiply.

        Raises:
            CheckpointError: the checkpoint has no such weight, or one of another shape.
        """
        ...

    def tokenizer(self) -> TextTokenizer: ...
