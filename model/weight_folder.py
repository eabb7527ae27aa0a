"""A Hugging Face folder of weights: its JSON files, and tensors by name out of one safetensors file or of shards."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from .errors import CheckpointError, ModelNotFound, UnsupportedCheckpoint

_ONE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_FLOATS = {"F32", "F16", "BF16"}


class WeightFolder:
    """Reads headers when made, and a tensor when asked for it.

    Raises:
        ModelNotFound: the folder lacks ``config.json`` or weights.
        CheckpointError: a file is damaged or missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / "config.json").is_file():
            raise ModelNotFound(f"{path} is no model: it has no config.json")
        self._files = self._weight_files()

    @property
    def name(self) -> str:
        parent = self.path.resolve().parent
        if parent.name == "snapshots":
            return parent.parent.name.removeprefix("models--").replace("--", "/")
        return self.path.resolve().name

    @property
    def fingerprint(self) -> str:
        """Changes when the configuration or the weights may have changed; fit for a file name."""
        seen = hashlib.sha256()
        for file in sorted({self.path / "config.json", *self._files.values()}):
            status = file.stat()
            seen.update(f"{file.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
        return seen.hexdigest()[:16]

    @property
    def names(self) -> frozenset[str]:
        """The tensors that are there."""
        return frozenset(self._files)

    def tensor(self, name: str, rows: tuple[int, int] | None = None) -> np.ndarray:
        """One tensor as float32, whole or between two rows.

        Raises:
            CheckpointError: it is missing, damaged, or has fewer rows.
            UnsupportedCheckpoint: it holds another type than F32, F16 or BF16.
        """
        if name not in self._files:
            raise CheckpointError(f"{self.path}: tensor {name} is missing")
        file = self._files[name]
        try:
            with safe_open(file, framework="numpy") as weights:
                stored = weights.get_slice(name)
                kind = stored.get_dtype()
                if kind not in _FLOATS:
                    raise UnsupportedCheckpoint(
                        f"{file}: tensor {name} has type {kind}, which is not supported (F32, F16, BF16 are)"
                    )
                if rows is None:
                    return weights.get_tensor(name).astype(np.float32)
                if rows[1] > (shape := tuple(stored.get_shape()))[0]:
                    raise CheckpointError(
                        f"{self.path}: {name} is {shape}; the configuration asks for {rows[1]} rows or more"
                    )
                return stored[slice(*rows)].astype(np.float32)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file}: damaged or cut short: {error}") from error

    def json(self, name: str) -> dict[str, Any]:
        """One of the folder's JSON files.

        Raises:
            CheckpointError: it is missing or not JSON.
        """
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path / name}: not readable as JSON: {error}") from error

    def _weight_files(self) -> dict[str, Path]:
        """The file each tensor stands in."""
        if (self.path / _INDEX).is_file():
            shards = self.json(_INDEX).get("weight_map")
            if not isinstance(shards, dict):
                raise CheckpointError(f"{self.path / _INDEX}: damaged: it has no weight_map")
            files = {name: self.path / Path(file).name for name, file in shards.items()}
            for file in sorted(set(files.values())):
                if not file.is_file():
                    raise CheckpointError(f"{file} is missing: the model is incomplete")
            return files
        file = self.path / _ONE
        if not file.is_file():
            raise ModelNotFound(f"{self.path} has no weights: neither {_ONE} nor {_INDEX} is there")
        try:
            with safe_open(file, framework="numpy") as weights:
                return dict.fromkeys(weights.keys(), file)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file}: damaged or cut short: {error}") from error
