"""Which heads of a model keep the whole text and which its beginning and newest tokens alone, as a TOML file says it.

The pattern is DuoAttention's (Xiao et al., 2410.10819): retrieval heads and streaming heads, told apart by gates that
were found by training. A file looks like this, with one list for each layer and a gate for each of its key heads:

    sinks = 128
    window = 256
    threshold = 0.5
    gates = [
        [1.0, 0.0, 0.03],
        [0.0, 0.91, 0.0],
    ]
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .architecture import DecoderConfig, LayerKind, StreamingHeads
from .checkpoint import Checkpoint
from .errors import HeadPatternError
from .tokenizer import TextTokenizer

_KEYS = ("sinks", "window", "threshold", "gates")


@dataclass(frozen=True, slots=True)
class HeadPattern:
    """Key heads whose gate is below ``threshold`` stream: they see the first ``sinks`` tokens and the newest
    ``window``. ``gates`` are by layer, then by key head, each from 0 to 1.

    Raises:
        HeadPatternError: a number is out of its range.
    """

    gates: tuple[tuple[float, ...], ...]
    sinks: int
    window: int
    threshold: float = 0.5

    def __post_init__(self) -> None:
        for name, least in (("sinks", 0), ("window", 1)):
            number = getattr(self, name)
            if not isinstance(number, int) or isinstance(number, bool) or number < least:
                raise HeadPatternError(f"{name} is {number!r}; it must be a whole number of at least {least}")
        if not _is_share(self.threshold):
            raise HeadPatternError(f"threshold is {self.threshold!r}; it must be a number from 0 to 1")
        for layer, gates in enumerate(self.gates):
            if wrong := [gate for gate in gates if not _is_share(gate)]:
                raise HeadPatternError(f"layer {layer} has the gate {wrong[0]!r}; gates are numbers from 0 to 1")

    def streaming(self, layer: int) -> tuple[int, ...]:
        """The key heads of ``layer`` that stream."""
        return tuple(head for head, gate in enumerate(self.gates[layer]) if gate < self.threshold)


def read_pattern(file: Path) -> HeadPattern:
    """
    Raises:
        HeadPatternError: it is not there, or is no such file.
    """
    try:
        found = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise HeadPatternError(f"there is no head pattern at {file}") from error
    except (OSError, ValueError) as error:
        raise HeadPatternError(f"the head pattern {file} cannot be read: {error}") from error
    try:
        return _pattern_of(found)
    except HeadPatternError as error:
        raise HeadPatternError(f"the head pattern {file} is damaged: {error}") from error


def write_pattern(pattern: HeadPattern, file: Path) -> None:
    """``pattern`` as `read_pattern` takes it. Gates are not rounded: one near the threshold could pass it."""
    rows = "".join(f"    [{', '.join(repr(float(gate)) for gate in gates)}],\n" for gates in pattern.gates)
    numbers = f"sinks = {pattern.sinks}\nwindow = {pattern.window}\nthreshold = {float(pattern.threshold)!r}\n"
    file.write_text(f"# Key heads with gates below the threshold stream.\n{numbers}gates = [\n{rows}]\n", "utf-8")


def patterned(config: DecoderConfig, pattern: HeadPattern) -> DecoderConfig:
    """``config`` with the heads that stream by ``pattern``.

    Raises:
        HeadPatternError: the pattern was made for a network of another shape, or has heads stream in a layer that
            sees no more than a window in any case.
    """
    if len(pattern.gates) != config.layers:
        raise HeadPatternError(f"the head pattern has gates for {len(pattern.gates)} layers; there are {config.layers}")
    kinds = [_patterned(config, pattern, layer) for layer in range(config.layers)]
    return dataclasses.replace(config, layer_kinds=tuple(kinds))


class PatternedCheckpoint:
    """Implements `Checkpoint`: ``base``, some of whose heads stream.

    Raises:
        HeadPatternError: as `patterned`.
    """

    def __init__(self, base: Checkpoint, pattern: HeadPattern) -> None:
        self._base = base
        self.config = patterned(base.config, pattern)

    @property
    def name(self) -> str:
        return self._base.name

    @property
    def fingerprint(self) -> str:
        return self._base.fingerprint

    def tensor(self, name: str) -> np.ndarray:
        return self._base.tensor(name)

    def tokenizer(self) -> TextTokenizer:
        return self._base.tokenizer()


def _pattern_of(found: Mapping[str, Any]) -> HeadPattern:
    if unknown := [key for key in found if key not in _KEYS]:
        raise HeadPatternError(f"{unknown[0]} is none of its keys ({', '.join(_KEYS)})")
    if missing := [key for key in _KEYS if key not in found and key != "threshold"]:
        raise HeadPatternError(f"{missing[0]} is missing")
    gates = found["gates"]
    if not isinstance(gates, list) or not all(isinstance(layer, list) for layer in gates):
        raise HeadPatternError("gates must be a list of lists")
    return HeadPattern(**{**found, "gates": tuple(map(tuple, gates))})


def _patterned(config: DecoderConfig, pattern: HeadPattern, layer: int) -> LayerKind:
    kind, heads = config.layer_kinds[layer], pattern.streaming(layer)
    if len(pattern.gates[layer]) != config.kv_heads:
        raise HeadPatternError(
            f"layer {layer} of the head pattern has {len(pattern.gates[layer])} gates; "
            f"the model has {config.kv_heads} key heads"
        )
    if heads and kind.window is not None:
        raise HeadPatternError(
            f"layer {layer} sees {kind.window} tokens in any case: none of its heads can stream, let their gates be 1"
        )
    streaming = StreamingHeads(heads, pattern.sinks, pattern.window) if heads else None
    return dataclasses.replace(kind, streaming=streaming)


def _is_share(number: object) -> bool:
    return (
        isinstance(number, int | float)
        and not isinstance(number, bool)
        and math.isfinite(number)
        and 0.0 <= number <= 1.0
    )
