"""An adapter that makes a reranker or an extractive reader of an encoder, read from a folder in PEFT's layout.

``adapter_config.json`` names the base, the rank and alpha; ``adapter_model.safetensors`` holds, after the prefix
``base_model.model.``, ``<module>.lora_A.weight`` [R, K] and ``<module>.lora_B.weight`` [N, R] for each adapted matrix
W [N, K], which becomes W + (alpha / R) · B · A (LoRA: Hu et al., 2106.09685); the head, of one score or of two (where
an answer begins and ends), ``score.weight`` [1, D] and ``score.bias`` [1] or ``qa_outputs.weight`` [2, D] and
``qa_outputs.bias`` [2]; and weights that were trained outright, by their names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from .errors import ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_CHECKSUMS = "SHA256SUMS"
_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_NOT_PLAIN = ("use_dora", "use_rslora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "use_qalora")


@dataclass(frozen=True, slots=True)
class Head:
    """What an adapter's own linear map is called, how many scores it gives, and for what."""

    name: str
    scores: int
    purpose: str


RANKING_HEAD = Head("score", 1, "reranker")
SPAN_HEAD = Head("qa_outputs", 2, "extractive reader")
_HEADS = (RANKING_HEAD, SPAN_HEAD)


@dataclass(frozen=True, slots=True)
class PairFormat:
    """Tokens of a pair at most, special ones among them, and of its question: as the adapter was trained."""

    max_tokens: int = 256
    question_tokens: int = 64


@dataclass(frozen=True, slots=True)
class EncoderAdapter:
    """``tensors`` are all of the file's, float32, without the prefix; ``digest`` names the content of both files."""

    folder: Path
    base_name: str
    scale: float
    pairs: PairFormat
    tensors: Mapping[str, np.ndarray]
    digest: str

    def head(self, head: Head, dimension: int) -> tuple[Float[np.ndarray, "S D"], Float[np.ndarray, " S"]]:
        """Weights and bias that turn a hidden state into scores.

        Raises:
            ModelNotFound: they are missing, or made for another width.
        """
        weight_SD, bias_S = self.tensors.get(f"{head.name}.weight"), self.tensors.get(f"{head.name}.bias")
        if weight_SD is None or bias_S is None:
            raise ModelNotFound(
                f"{self.folder}: it has no {head.name}.weight and {head.name}.bias, "
                f"so it is no {head.purpose}'s adapter"
            )
        if weight_SD.shape != (head.scores, dimension) or bias_S.shape != (head.scores,):
            raise ModelNotFound(
                f"{self.folder}: made for {self.base_name}, its head is {_by(weight_SD.shape)}; "
                f"{head.scores}×{dimension} is needed"
            )
        return weight_SD, bias_S

    def merge_into(self, weights: Mapping[str, np.ndarray], base_name: str) -> dict[str, np.ndarray]:
        """``weights`` of the base with the adapter worked in.

        Raises:
            ModelNotFound: the adapter changes what the base does not have, or has in another shape; names both.
        """
        merged = dict(weights)
        for name, change in self._changes():
            place = _place_of(name, weights)
            if place is None or weights[place].shape != change.shape:
                there = "is not there" if place is None else f"is {_by(weights[place].shape)} there"
                raise ModelNotFound(
                    f"{self.folder}: made for {self.base_name}, does not fit {base_name}: {name} {there}, "
                    f"the adapter's is {_by(change.shape)}"
                )
            whole = name in self.tensors
            merged[place] = change if whole else weights[place].astype(np.float32) + change
        return merged

    def _changes(self) -> Iterator[tuple[str, np.ndarray]]:
        """By weight's name: what is to be added, or, for names that stand in the file, put in its place."""
        for name, values in self.tensors.items():
            if name.endswith(_UP) and name.removesuffix(_UP) + _DOWN not in self.tensors:
                raise ModelNotFound(
                    f"{self.folder / WEIGHTS_FILE}: {name} has no {_DOWN[1:]} beside it: the adapter is incomplete"
                )
            if name.endswith(_DOWN):
                module = name.removesuffix(_DOWN)
                up_NR = self.tensors.get(module + _UP)
                if up_NR is None or up_NR.ndim != 2 or values.ndim != 2 or up_NR.shape[1] != values.shape[0]:
                    raise ModelNotFound(
                        f"{self.folder / WEIGHTS_FILE}: the two factors of {module} do not fit together"
                    )
                yield f"{module}.weight", np.float32(self.scale) * (up_NR @ values)
            elif not name.endswith(_UP) and name.partition(".")[0] not in {head.name for head in _HEADS}:
                yield name, values


def is_adapter(folder: Path) -> bool:
    """Whether ``folder`` holds an adapter rather than a model."""
    return (folder / CONFIG_FILE).is_file()


def adapter_base(folder: Path) -> str:
    """The name of the model that the adapter in ``folder`` was made for; its weights are not read.

    Raises:
        ModelNotFound: as `read_encoder_adapter`.
    """
    return str(_config(folder).get("base_model_name_or_path") or "")


def read_encoder_adapter(folder: Path) -> EncoderAdapter:
    """The adapter in ``folder``, whole, its files checked against ``SHA256SUMS`` where there is one.

    Raises:
        ModelNotFound: a file is missing or damaged, or asks for more than plain LoRA; one line.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    config = _config(folder)
    file = folder / WEIGHTS_FILE
    try:
        content = file.read_bytes()
        tensors = {name.removeprefix(_PREFIX): values.astype(np.float32) for name, values in load(content).items()}
    except FileNotFoundError as error:
        raise ModelNotFound(f"adapter {folder} is incomplete: it has no {WEIGHTS_FILE}") from error
    except KeyError as error:  # a type that NumPy does not have
        stored = error.args[0]
        raise ModelNotFound(f"{file}: stored as {stored}; save it as float16 or float32") from error
    except (OSError, SafetensorError) as error:
        raise ModelNotFound(f"{file}: damaged, cut short, or no safetensors file: {error}") from error
    digests = {
        CONFIG_FILE: hashlib.sha256((folder / CONFIG_FILE).read_bytes()).hexdigest(),
        WEIGHTS_FILE: hashlib.sha256(content).hexdigest(),
    }
    _verify(folder, digests)
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise ModelNotFound(f"{folder / CONFIG_FILE}: r is {rank!r} and lora_alpha {alpha!r}; two numbers are needed")
    return EncoderAdapter(
        folder,
        base_name=str(config.get("base_model_name_or_path") or ""),
        scale=alpha / rank,
        pairs=_pairs(folder, config.get("capibara_pairs") or {}),
        tensors=tensors,
        digest=hashlib.sha256("".join(digests.values()).encode()).hexdigest(),
    )


def _config(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG_FILE
    try:
        config = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"adapter {folder}: {CONFIG_FILE} cannot be read ({error})") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise ModelNotFound(f"{file}: not the configuration of a LoRA adapter")
    for feature in _NOT_PLAIN:
        if config.get(feature):
            raise ModelNotFound(f"{file}: {feature} is not supported (plain LoRA is)")
    return config


def _pairs(folder: Path, record: Mapping[str, Any]) -> PairFormat:
    try:
        pairs = PairFormat(**record)
        if 0 < pairs.question_tokens < pairs.max_tokens - 3:
            return pairs
    except TypeError:  # other names, or no mapping: told below with what was found
        pass
    raise ModelNotFound(
        f"{folder / CONFIG_FILE}: capibara_pairs is {record!r}; max_tokens and question_tokens are needed"
    )


def _verify(folder: Path, digests: Mapping[str, str]) -> None:
    listing = folder / _CHECKSUMS
    if not listing.is_file():
        return
    lines = [line.split(maxsplit=1) for line in listing.read_text("utf-8", "replace").splitlines()]
    listed = {parts[1].removeprefix("*"): parts[0] for parts in lines if len(parts) == 2}
    for name, digest in digests.items():
        if listed.get(name) != digest:
            raise ModelNotFound(
                f"{folder / name} is not what {_CHECKSUMS} says: install it again, or remove {_CHECKSUMS} if you "
                "have changed it yourself"
            )


def _place_of(name: str, weights: Mapping[str, np.ndarray]) -> str | None:
    """Where the base keeps a weight: under its name, or under it behind the name of the whole (``bert.``)."""
    if name in weights:
        return name
    return next((place for place in weights if place.endswith(f".{name}")), None)


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
