"""Decodes that a stream asks for: due, and under way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

from .gate import Closed
from .utterance import Utterance
from .values import DecodeOptions


@dataclass(slots=True, eq=False)
class PendingDecode:
    """A decode that is due: of ``utterance`` up to sample ``end``. ``closed``: what it brings is the final."""

    utterance: Utterance
    end: int
    kind: Literal["partial", "pause", "final"]
    due: int
    closed: Closed | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DecodeJob:
    """Audio to decode: the stream's samples ``start`` to ``end``; due since the stream was at sample ``due``."""

    audio: Float32[np.ndarray, " S"]
    options: DecodeOptions
    start: int
    end: int
    due: int
    pending: PendingDecode
