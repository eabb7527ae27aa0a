"""A decoder in a Hugging Face folder: ``config.json``, safetensors in one file or in shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .architecture import DecoderConfig
from .errors import CheckpointError, UnsupportedCheckpoint
from .hub_config import family_of, read_config
from .stored_names import in_hub
from .tokenizer import TextTokenizer
from .weight_folder import WeightFolder


class SafetensorsCheckpoint:
    """Implements `Checkpoint`.

    Raises:
        ModelNotFound: the folder lacks ``config.json`` or weights.
        CheckpointError: a file is damaged or missing.
        UnsupportedCheckpoint: another family or feature, by name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = WeightFolder(folder)
        given = self._folder.json("config.json")
        try:
            self._family = family_of(given)
            self._family_name: str = given["model_type"]
            self._config = read_config(given, has_head="lm_head.weight" in self._folder.names)
        except KeyError as error:
            raise CheckpointError(f"{folder / 'config.json'}: {error.args[0]} is missing") from error
        except UnsupportedCheckpoint as error:
            raise UnsupportedCheckpoint(f"{folder}: {error}") from error
        except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise CheckpointError(f"{folder / 'config.json'}: damaged: {error}") from error

    @property
    def name(self) -> str:
        return self._folder.name

    @property
    def config(self) -> DecoderConfig:
        return self._config

    @property
    def fingerprint(self) -> str:
        return self._folder.fingerprint

    def tensor(self, name: str) -> np.ndarray:
        stored = in_hub(name, self._config, self._family_name, fused=self._family.fused)
        values = self._folder.tensor(stored.tensor, stored.rows)
        return values + np.float32(1) if self._family.norms_around_one and name.endswith("norm.weight") else values

    def tokenizer(self) -> TextTokenizer:
        from .folder_tokenizer import folder_tokenizer

        return folder_tokenizer(self._folder.path)
