"""The extractive reader points at what its formula says, in passages of any length, and refuses what does not fit."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from capibara.config.schema import RagSettings
from capibara.rag.errors import ModelNotFound
from capibara.rag.extractive_reader import ExtractiveReader, open_extractor

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
        places = range(len(head), len(scores) - 1)
        for first, last in itertools.product(places, places):
            if 0 <= last - first < LONGEST:
                score = scores[first, 0] + scores[last, 1] - scores[0].sum()
                offsets = [text.offsets[begin + one - len(head)] for one in (first, last)]
                found.append((offsets[0][0], offsets[1][1], float(score)))
    return max(found, key=lambda one: one[2])


@pytest.mark.parametrize("passage", [*PASSAGES, LONG], ids=["sentence", "two words", "letter", "marks", "windows"])
@pytest.mark.parametrize("question", [QUESTION, "boat " * 20, ""], ids=["plain", "long", "empty"])
def test_it_points_at_the_best_of_all_spans(
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
