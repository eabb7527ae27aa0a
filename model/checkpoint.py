"""What every checkpoint format gives: a configuration, weights by one set of names, tokenizer and chat template."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from .architecture import DecoderConfig
from .tokenizer import TextTokenizer


class Checkpoint(Protocol):
    """A model at rest. Weight names are those of Hugging Face's Llama (``model.layers.0.self_attn.q_proj.weight``)."""

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> DecoderConfig: ...

    @property
    def fingerprint(self) -> str:
        """Changes when the weights may have changed; fit for a file name."""
        ...

    def tensor(self, name: str) -> np.ndarray:
        """One weight as float32, matrices as [outputs, inputs], rotary pairs split in halves.

        Raises:
            CheckpointError: the checkpoint has no such weight, or one of another shape.
        """
        ...

    def tokenizer(self) -> TextTokenizer: ...
