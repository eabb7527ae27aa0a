"""An extractive reader: a small adapter over the embedding model points at the words of a passage that answer.

Devlin et al. 2019, arXiv:1810.04805, section 4.3: two scores of every token's last hidden state say how well an answer
begins and ends there; those of the first token, which stands for the whole, say that the passage does not answer.

Axes: W windows, T tokens of a window, D width, S scores (begins, ends).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from ..config.schema import RagSettings
from .batching import encoded
from .encoder_adapter import SPAN_HEAD, adapter_base, is_adapter
from .merged_encoder import MergedEncoder, base_of, same_base
from .models import EmbeddingModel, find_embedding_model, find_model_folder
from .sentences import sentence_spans

_BUNDLED = Path(__file__).parent / "adapters" / "extractor"
_BATCH = 32
_LONGEST = 30
"""Tokens of an answer at most."""
_PRICE_OF_A_TOKEN = 0.015
"""What one more token must add to the probability of holding the answer; docs/evaluation.md holds the comparison."""


@dataclass(frozen=True, slots=True)
class AnswerSpan:
    """The words of a passage that most likely hold the answer; ``start`` and ``end`` are characters of its text.

    ``score`` is how much better the passage's likeliest words do than "this passage does not answer": the logarithm of
    the ratio of the two probabilities, 0 where both are as likely.
    """

    start: int
    end: int
    score: float


class ExtractiveReader:
    """Finds answers in passages. Light to construct; loads on `warm_up` or first use. Thread-safe."""

    def __init__(self, folder: Path, base: EmbeddingModel, backend: str = "auto", name: str | None = None) -> None:
        """``folder`` holds the adapter, ``base`` is the encoder it was made for, ``backend`` one of `backends_for`."""
        self.name = name or folder.name
        self._folder, self._base, self._choice = folder, base, backend
        self._lock = threading.Lock()
        self._parts: _Parts | None = None

    def warm_up(self) -> None:
        """Merge and convert, on the first use on this machine, and load.

        Raises:
            ModelNotFound: a file is missing or damaged, or the adapter was made for another base.
            BackendUnavailable: no engine can run the model.
        """
        self._loaded().encoder.engine.get()

    def read(self, question: str, passages: Sequence[str]) -> list[AnswerSpan | None]:
        """The best span of each passage, however bad it is; None where a passage has no words."""
        best: list[AnswerSpan | None] = [None] * len(passages)
        if not passages:
            return best
        parts = self._loaded()
        windows = list(parts.windows(question, passages))
        tokens = [window.tokens for window in windows]
        for rows, _, hidden_WTD in encoded(parts.encoder.engine.get(), tokens, self._base.padding, _BATCH):
            scores_WTS = hidden_WTD @ parts.weight_SD.T + parts.bias_S
            for row, scores_TS in zip(rows, scores_WTS, strict=True):
                window = windows[row]
                span, known = window.best(scores_TS), best[window.passage]
                if known is None or span.score > known.score:
                    best[window.passage] = span
        return best

    def _loaded(self) -> _Parts:
        with self._lock:
            if self._parts is None:
                encoder = MergedEncoder.load(self._folder, self._base, self._choice, self.name, "extractive reader")
                self._parts = _Parts(encoder, *encoder.adapter.head(SPAN_HEAD, self._base.dimension))
            return self._parts


def open_extractor(settings: RagSettings, bundled: Path = _BUNDLED) -> ExtractiveReader | None:
    """The extractive reader that ``settings`` name; None for "none".

    "auto" is the adapter in ``bundled`` where it is there and was made for the embedding model, otherwise none.

    Raises:
        ModelNotFound: the folder is missing, or the base of its adapter is not here.
    """
    if settings.extractor == "none":
        return None
    if settings.extractor == "auto":
        if not is_adapter(bundled):
            return None
        base = find_embedding_model(settings.embedding_model)
        fits = same_base(adapter_base(bundled), base.name)
        return ExtractiveReader(bundled, base, settings.embedding_backend) if fits else None
    folder = find_model_folder(settings.extractor)
    return ExtractiveReader(folder, base_of(folder, settings), settings.embedding_backend, settings.extractor)


@dataclass(frozen=True, slots=True)
class _Window:
    """A row of tokens; the passage's begin at ``first``. ``places`` are their characters [T, 2] in its text,
    ``sentences`` the number of the sentence that each is of."""

    passage: int
    tokens: list[int]
    first: int
    places: list[tuple[int, int]]
    sentences: Int[np.ndarray, " T"]

    def best(self, scores_TS: Float[np.ndarray, "T S"]) -> AnswerSpan:
        inside = slice(self.first, self.first + len(self.places))
        sums_TT = scores_TS[inside, 0][:, None] + scores_TS[inside, 1][None]
        sums_TT = np.where(_possible(len(self.places)), sums_TT, -np.inf)
        first, last = safest_span(sums_TT, self.sentences)
        score = float(sums_TT.max() - scores_TS[0].sum())
        return AnswerSpan(self.places[first][0], self.places[last][1], score)


def safest_span(sums_TT: Float[np.ndarray, "T T"], sentences_T: Int[np.ndarray, " T"]) -> tuple[int, int]:
    """First and last token of the span that most likely holds the whole answer, less a price for its length.

    ``sums_TT`` are the scores of every span by its first and last token, minus infinity for those that cannot be;
    ``sentences_T`` tells which sentence a token is of. The likeliest span is often a part of what is meant, or one of
    two neighbours: it is made longer where that pays, within its sentence.
    """
    share_TT = np.exp(sums_TT - sums_TT.max())
    share_TT /= share_TT.sum()
    held_TT = np.cumsum(np.cumsum(share_TT[::-1], axis=0)[::-1], axis=1)  # of all spans within first to last
    place_T = np.arange(len(sums_TT))
    worth_TT = held_TT - _PRICE_OF_A_TOKEN * (place_T[None] - place_T[:, None])
    first, last = divmod(int(sums_TT.argmax()), len(sums_TT))
    longer_TT = (place_T[:, None] <= first) & (place_T[None] >= last) & np.isfinite(sums_TT)
    longer_TT &= (sentences_T[:, None] == sentences_T[first]) & (sentences_T[None] == sentences_T[last])
    first, last = divmod(int(np.where(longer_TT, worth_TT, -np.inf).argmax()), len(sums_TT))
    return first, last


def _possible(tokens: int) -> Bool[np.ndarray, "T T"]:
    """Which tokens (columns) can be the last of a span that begins with which (rows)."""
    ones_TT = np.ones((tokens, tokens), bool)
    return np.triu(ones_TT) & ~np.triu(ones_TT, _LONGEST)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is loaded."""

    encoder: MergedEncoder
    weight_SD: Float[np.ndarray, "S D"]  # noqa: N815
    bias_S: Float[np.ndarray, " S"]  # noqa: N815

    def windows(self, question: str, passages: Sequence[str]) -> Iterator[_Window]:
        """Every passage whole, or in windows of which each begins in the middle of the one before."""
        tokens = self.encoder.tokens
        asked, *texts = tokens.encodings([question, *passages])
        head = [tokens.first, *asked.ids[: tokens.form.question_tokens], tokens.last]
        room = tokens.form.max_tokens - len(head) - 1
        for passage, text in enumerate(texts):
            ends = [end for _, end in sentence_spans(passages[passage])]
            sentences = np.searchsorted(ends, [start for start, _ in text.offsets], side="right")
            last = max(0, len(text.ids) - room)
            for begin in [*range(0, last, max(1, room // 2)), last]:
                ids, places = text.ids[begin : begin + room], text.offsets[begin : begin + room]
                if ids:
                    of = sentences[begin : begin + room]
                    yield _Window(passage, [*head, *ids, tokens.last], len(head), places, of)
