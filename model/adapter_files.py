"""Low-rank adapters at rest, in the layout of Hugging Face's PEFT: two files in a folder.

``adapter_config.json`` says what was adapted and how; ``adapter_model.safetensors`` holds, for each adapted matrix W
[N, K], ``base_model.model.<module>.lora_A.weight`` [R, K] and ``….lora_B.weight`` [N, R]. The adapted matrix is
W + (alpha / R) · B · A (LoRA: Hu et al., 2106.09685).
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from .errors import AdapterError, AdapterMismatch

if TYPE_CHECKING:
    from jax import Array

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_OTHER_METHODS = (
    "use_dora",
    "fan_in_fan_out",
    "rank_pattern",
    "alpha_pattern",
    "use_qalora",
    "alora_invocation_tokens",
)


class LoraFactors(NamedTuple):
    """The two factors of a change to a matrix [N, K]: the change is a scale times ``up @ down``."""

    down: Float[Array | np.ndarray, "R K"]
    up: Float[Array | np.ndarray, "N R"]


@dataclass(frozen=True, slots=True)
class Adapter:
    """Low-rank changes to the matrices of a base.

    ``factors`` has one entry for each adapted matrix, by the module's name in the Hugging Face checkpoint
    (``model.layers.0.self_attn.q_proj``), float32. ``whole`` holds tensors that were trained outright, such as a new
    head, by their full names (``classifier.weight``); PEFT calls their modules ``modules_to_save``.
    """

    rank: int
    alpha: float
    base_name: str
    factors: Mapping[str, LoraFactors]
    whole: Mapping[str, np.ndarray] = field(default_factory=dict)
    task: str = "CAUSAL_LM"
    dropout: float = 0.0

    @property
    def scale(self) -> float:
        """What ``up @ down`` is multiplied by."""
        return self.alpha / self.rank

    @property
    def targets(self) -> tuple[str, ...]:
        """Last parts of the adapted modules' names (``q_proj``), sorted."""
        return tuple(sorted({name.rpartition(".")[2] for name in self.factors}))


def merged(weight_NK: Float[np.ndarray, "N K"], factors: LoraFactors, scale: float) -> Float[np.ndarray, "N K"]:
    """The adapted matrix itself, float32: for an adapter that is applied once and for all."""
    return weight_NK + np.float32(scale) * (np.asarray(factors.up) @ np.asarray(factors.down))


def check_fits(adapter: Adapter, shapes: Mapping[str, tuple[int, int]], base_name: str) -> None:
    """Refuse an adapter whose factors have no place in a base with matrices of ``shapes`` [N, K], by module name.

    Raises:
        AdapterMismatch: a module is not there, or has another shape; the message names both bases.
    """
    bases = f"the adapter was made for {adapter.base_name or 'an unnamed base'} and does not fit {base_name}"
    for name, factors in adapter.factors.items():
        if name not in shapes:
            raise AdapterMismatch(f"{bases}: there is no {name}")
        made_for = (factors.up.shape[0], factors.down.shape[1])
        if made_for != tuple(shapes[name]):
            raise AdapterMismatch(f"{bases}: {name} is {_by(shapes[name])} there, the adapter's is {_by(made_for)}")


def read_adapter(folder: Path) -> Adapter:
    """The adapter in ``folder``, its factors as float32.

    Raises:
        AdapterError: a file is missing or damaged, a factor lacks its partner or has another rank than the
            configuration says, or the configuration asks for a method other than plain LoRA.
    """
    config = _read_config(folder / CONFIG_FILE)
    file = folder / WEIGHTS_FILE
    tensors = _read_tensors(file)
    rank = config["r"]
    factors: dict[str, LoraFactors] = {}
    for name in sorted({key.removesuffix(_DOWN).removesuffix(_UP) for key in tensors if key.endswith((_DOWN, _UP))}):
        pair = LoraFactors(*(_taken(tensors, name + part, file) for part in (_DOWN, _UP)))
        for values, rows in ((pair.down, pair.down.shape[0]), (pair.up, pair.up.shape[-1])):
            if values.ndim != 2 or rows != rank:
                raise AdapterError(
                    f"{file}: a factor of {name} is {_by(values.shape)}, but {CONFIG_FILE} gives rank {rank}"
                )
        factors[name] = pair
    if not factors:
        raise AdapterError(f"{file}: it holds no LoRA factors ({_PREFIX}<module>{_DOWN} and {_UP})")
    unknown = [name for name in tensors if "lora_" in name]
    if unknown:
        raise AdapterError(f"{file}: {unknown[0]} is not supported (only LoRA of matrices is)")
    return Adapter(
        rank=rank,
        # rsLoRA (Kalajdzievski, 2312.03732) divides by the root of the rank: the same change under another alpha.
        alpha=config["lora_alpha"] * (math.sqrt(rank) if config.get("use_rslora") else 1.0),
        base_name=config.get("base_model_name_or_path") or "",
        factors=factors,
        whole=tensors,
        task=config.get("task_type") or "",
        dropout=config.get("lora_dropout") or 0.0,
    )


def write_adapter(folder: Path, adapter: Adapter, dtype: type[np.floating] = np.float16) -> None:
    """Write both files, each complete before it replaces an older one. ``folder`` is made where it is missing.

    Raises:
        AdapterError: a value is not finite in ``dtype``, or there are no factors.
        OSError: the folder cannot be written.
    """
    from safetensors.numpy import save_file

    if not adapter.factors:
        raise AdapterError(f"{folder}: an adapter without factors is not written")
    tensors = {_PREFIX + name: np.asarray(values) for name, values in adapter.whole.items()}
    for name, factors in adapter.factors.items():
        tensors[_PREFIX + name + _DOWN], tensors[_PREFIX + name + _UP] = map(np.asarray, factors)
    for name, values in tensors.items():
        # Values beyond the type's range are refused below, by name.
        with np.errstate(over="ignore"):
            tensors[name] = np.ascontiguousarray(values.astype(dtype))
        if not np.isfinite(tensors[name]).all():
            raise AdapterError(f"{folder}: {name} has values that are not finite in {np.dtype(dtype).name}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".adapter-", dir=folder) as unfinished:
        weights, config = Path(unfinished, WEIGHTS_FILE), Path(unfinished, CONFIG_FILE)
        save_file(tensors, weights, metadata={"format": "pt"})
        config.write_text(json.dumps(_config(adapter), indent=2) + "\n", encoding="utf-8")
        weights.replace(folder / WEIGHTS_FILE)
        config.replace(folder / CONFIG_FILE)


def _config(adapter: Adapter) -> dict[str, Any]:
    whole = sorted({name.rpartition(".")[0] for name in adapter.whole})
    return {
        "peft_type": "LORA",
        "task_type": adapter.task or None,
        "base_model_name_or_path": adapter.base_name,
        "r": adapter.rank,
        "lora_alpha": int(adapter.alpha) if float(adapter.alpha).is_integer() else adapter.alpha,
        "lora_dropout": adapter.dropout,
        "target_modules": list(adapter.targets),
        "modules_to_save": whole or None,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AdapterError(f"{file.parent} is no adapter: it has no {file.name}") from error
    except (OSError, ValueError) as error:
        raise AdapterError(f"{file}: not readable as JSON: {error}") from error
    if not isinstance(config, dict):
        raise AdapterError(f"{file}: not a JSON object")
    if config.get("peft_type") != "LORA":
        raise AdapterError(f"{file}: peft_type {config.get('peft_type')!r} is not supported (LORA is)")
    if not isinstance(config.get("r"), int) or config["r"] < 1:
        raise AdapterError(f"{file}: r is {config.get('r')!r}; a positive whole number is needed")
    if not isinstance(config.get("lora_alpha"), int | float):
        raise AdapterError(f"{file}: lora_alpha is {config.get('lora_alpha')!r}; a number is needed")
    for feature in _OTHER_METHODS:
        if config.get(feature):
            raise AdapterError(f"{file}: {feature} is not supported (plain LoRA is)")
    if config.get("bias", "none") != "none":
        raise AdapterError(f"{file}: bias {config['bias']!r} is not supported ('none' is)")
    return config


def _read_tensors(file: Path) -> dict[str, np.ndarray]:
    """Every tensor as float32, by its name in the base."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise AdapterError(f"{file.parent} is incomplete: it has no {file.name}")
    try:
        with safe_open(file, framework="numpy") as weights:
            names = weights.keys()
            return {name.removeprefix(_PREFIX): weights.get_tensor(name).astype(np.float32) for name in names}
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{file}: damaged, cut short, or no safetensors file: {error}") from error


def _taken(tensors: dict[str, np.ndarray], name: str, file: Path) -> np.ndarray:
    if name not in tensors:
        raise AdapterError(f"{file}: {_PREFIX}{name} is missing: the adapter is incomplete")
    return tensors.pop(name)


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
