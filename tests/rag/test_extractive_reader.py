"""The extractive reader points at what its formula says, in passages of any length, and refuses what does not fit."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from capibara.config.schema import RagSettings
from capibara.rag.errors import ModelNotFound
from capibara.rag.extractive_reader import _PRICE_OF_A_TOKEN, ExtractiveReader, open_extractor, safest_span
from capibara.rag.sentences import sentence_spans

from .adapters import MAX_TOKENS, QUESTION_TOKENS, hidden_states, tensors_of, write_adapter

QUESTION = "river boat at night"
PASSAGES = [
    "The old ferry  crosses the lake in winter.",
    "red boat",
    "a",
    "The north pier: closed at night, open at dawn.",
]
LONG = "The small train from the city to the south village was red and the boat on the lake is blue. " * 8
LONGEST = 30


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapters") / "extractor", tiny_model, head="qa_outputs", scores=2)


def settings(tiny_model: Path, **more: object) -> RagSettings:
    return RagSettings.model_validate({"embedding_model": str(tiny_model), "embedding_backend": "openvino"} | more)


@pytest.fixture(scope="module")
def reader(adapter: Path, tiny_model: Path) -> ExtractiveReader:
    opened = open_extractor(settings(tiny_model), adapter)
    assert opened is not None
    return opened


def sentence_of(passage: str, offsets: list[tuple[int, int]]) -> Callable[[int], int]:
    ends = [end for _, end in sentence_spans(passage)]
    return lambda token: sum(end <= offsets[token][0] for end in ends)


def best_span(adapter: Path, base: Path, question: str, passage: str) -> tuple[int, int, float]:
    """By trying every span of every window."""
    tokenizer, tensors = Tokenizer.from_file(str(base / "tokenizer.json")), tensors_of(adapter)
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    head = [cls, *tokenizer.encode(question, add_special_tokens=False).ids[:QUESTION_TOKENS], sep]
    text, room = tokenizer.encode(passage, add_special_tokens=False), MAX_TOKENS - len(head) - 1
    end = max(0, len(text.ids) - room)
    begins = [*range(0, end, room // 2), end]
    states = hidden_states(adapter, base, [[*head, *text.ids[one : one + room], sep] for one in begins])
    found = []
    for begin, state in zip(begins, states, strict=True):
        scores = state @ tensors["qa_outputs.weight"].T + tensors["qa_outputs.bias"]
        inside = scores[len(head) : -1]
        spans = {
            (first, last): inside[first, 0] + inside[last, 1]
            for first, last in itertools.product(range(len(inside)), repeat=2)
            if 0 <= last - first < LONGEST
        }
        top = max(spans.values())
        total = sum(math.exp(score - top) for score in spans.values())

        def worth(span: tuple[int, int], spans: dict = spans, top: float = top, total: float = total) -> float:
            within = [one for one in spans if span[0] <= one[0] and one[1] <= span[1]]
            return sum(math.exp(spans[one] - top) for one in within) / total - _PRICE_OF_A_TOKEN * (span[1] - span[0])

        likeliest, owner = max(spans, key=lambda span: spans[span]), sentence_of(passage, text.offsets[begin:])
        longer = [
            one
            for one in spans
            if one[0] <= likeliest[0] and one[1] >= likeliest[1] and [*map(owner, one)] == [*map(owner, likeliest)]
        ]
        first, last = max(longer, key=worth)
        found.append((text.offsets[begin + first][0], text.offsets[begin + last][1], float(top - scores[0].sum())))
    return max(found, key=lambda one: one[2])


@pytest.mark.parametrize("passage", [*PASSAGES, LONG], ids=["sentence", "two words", "letter", "marks", "windows"])
@pytest.mark.parametrize("question", [QUESTION, "boat " * 20, ""], ids=["plain", "long", "empty"])
def test_it_points_at_the_safest_of_all_spans(
    reader: ExtractiveReader, adapter: Path, tiny_model: Path, question: str, passage: str
) -> None:
    (span,) = reader.read(question, [passage])
    start, end, score = best_span(adapter, tiny_model, question, passage)
    assert span is not None
    assert (span.start, span.end) == (start, end)
    assert span.score == pytest.approx(score, abs=2e-3)


def test_a_passage_gives_the_same_beside_others(reader: ExtractiveReader) -> None:
    together = reader.read(QUESTION, [*PASSAGES, LONG])
    for passage, span in zip([*PASSAGES, LONG], together, strict=True):
        (alone,) = reader.read(QUESTION, [passage])
        assert alone is not None
        assert span is not None
        assert (alone.start, alone.end) == (span.start, span.end)
        assert alone.score == pytest.approx(span.score, abs=1e-3)


def test_no_passage_gives_nothing(reader: ExtractiveReader) -> None:
    assert reader.read(QUESTION, []) == []


def test_a_passage_without_words_has_no_span(reader: ExtractiveReader) -> None:
    none, some = reader.read(QUESTION, [" \n", "red boat"])
    assert none is None
    assert some is not None


def test_int8_points_at_mostly_the_same_words(adapter: Path, tiny_model: Path, reader: ExtractiveReader) -> None:
    rounded = open_extractor(settings(tiny_model, embedding_backend="openvino-int8"), adapter)
    assert rounded is not None
    texts = [" ".join(LONG.split()[begin : begin + 12]) for begin in range(20)]
    pairs = zip(reader.read(QUESTION, texts), rounded.read(QUESTION, texts), strict=True)
    same = [bool(one and other and (one.start, one.end) == (other.start, other.end)) for one, other in pairs]
    assert np.mean(same) >= 0.8


def test_it_is_light_until_it_is_warmed_up(adapter: Path, tiny_model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CAPIBARA_CACHE_DIR", str(tmp_path / "cache"))
    reader = open_extractor(settings(tiny_model), adapter)
    assert reader is not None
    assert not (tmp_path / "cache" / "adapted").exists()
    reader.warm_up()
    assert (tmp_path / "cache" / "adapted").is_dir()


def test_auto_takes_the_bundled_adapter_for_its_own_base_alone(adapter: Path, tiny_model: Path, tmp_path: Path) -> None:
    assert open_extractor(settings(tiny_model), adapter) is not None
    assert open_extractor(settings(tiny_model), tmp_path / "missing") is None
    assert open_extractor(settings(tiny_model, embedding_model="default"), adapter) is None
    assert open_extractor(settings(tiny_model, extractor="none"), adapter) is None


def test_a_folder_with_an_adapter_can_be_named(adapter: Path, tiny_model: Path, tmp_path: Path) -> None:
    reader = open_extractor(settings(tiny_model, extractor=str(adapter)), tmp_path / "missing")
    assert reader is not None
    assert reader.name == str(adapter)
    assert reader.read(QUESTION, ["red boat"])[0] is not None


def test_a_folder_that_is_not_there_is_named(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="nowhere"):
        open_extractor(settings(tiny_model, extractor=str(tmp_path / "nowhere")))


def test_a_rerankers_adapter_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "ranker", tiny_model)
    reader = open_extractor(settings(tiny_model, extractor=str(folder)))
    assert reader is not None
    with pytest.raises(ModelNotFound, match=r"no qa_outputs\.weight.*no extractive reader's adapter"):
        reader.warm_up()


def spans(**scores: float) -> np.ndarray:
    """Scores of spans of four tokens, such as ``t1_2``; all others are next to impossible."""
    sums_TT = np.where(np.triu(np.ones((4, 4), bool)), -30.0, -np.inf)
    for name, score in scores.items():
        first, last = map(int, name.removeprefix("t").split("_"))
        sums_TT[first, last] = score
    return sums_TT


@pytest.mark.parametrize(
    ("sums_TT", "span"),
    [
        (spans(t1_1=5.0), (1, 1)),
        (spans(t1_1=5.0, t1_2=4.9), (1, 2)),
        (spans(t1_2=5.0, t1_1=4.9), (1, 2)),
        (spans(t0_0=5.0, t1_1=4.9), (0, 1)),
        (spans(t0_0=5.0, t2_2=-1.0), (0, 0)),
        (spans(t2_2=5.0, t2_3=4.9), (2, 2)),
        (spans(t2_3=5.0, t1_1=0.0), (2, 3)),
    ],
    ids=["certain", "the longer", "never a shorter", "neighbours", "hardly likely", "another sentence", "across two"],
)
def test_the_safest_span_holds_all_that_is_likely_of_its_sentence(sums_TT: np.ndarray, span: tuple[int, int]) -> None:
    assert safest_span(sums_TT, np.array([0, 0, 0, 1])) == span


def test_training_and_reading_agree_on_the_longest_answer_and_on_how_pairs_are_laid_out() -> None:
    """The two rooms do not import one another."""
    from capibara.model.training import pair_tokens, span_objective
    from capibara.rag import encoder_adapter, extractive_reader

    assert extractive_reader._LONGEST == span_objective.LONGEST_ANSWER
    assert dataclasses.asdict(encoder_adapter.PairFormat()) == dataclasses.asdict(pair_tokens.PairFormat())
