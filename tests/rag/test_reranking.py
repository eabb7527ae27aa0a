"""Late interaction and cross-encoders keep the promises of a Reranker; MaxSim has a bounded cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from capibara.config.schema import RagSettings
from capibara.rag.embedding import TransformerEmbedder, open_embedder
from capibara.rag.errors import BackendUnavailable, ModelNotFound
from capibara.rag.protocols import Reranker
from capibara.rag.reranking import CrossEncoderReranker, LateInteractionReranker, open_reranker

from .reranker_conformance import PASSAGES, RerankerConformance


@pytest.fixture(scope="module")
def embedder(tiny_settings: RagSettings) -> TransformerEmbedder:
    return open_embedder(tiny_settings)


@pytest.fixture(scope="module")
def cross_encoder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-encoder folder of one layer with random weights, by the tiny model's tokenizer."""
    return _save_classifier(tiny_model, tmp_path_factory.mktemp("rerankers") / "one", labels=1)


def _save_classifier(tiny_model: Path, folder: Path, labels: int) -> Path:
    import shutil

    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(1)
    config = BertConfig.from_pretrained(tiny_model, num_labels=labels)
    BertForSequenceClassification(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, folder / name)
    return folder


class TestLateInteraction(RerankerConformance):
    @pytest.fixture(scope="class")
    def reranker(self, embedder: TransformerEmbedder) -> LateInteractionReranker:
        return LateInteractionReranker(embedder)


class TestCrossEncoder(RerankerConformance):
    @pytest.fixture(scope="class")
    def reranker(self, cross_encoder: Path) -> CrossEncoderReranker:
        return CrossEncoderReranker(cross_encoder)


def test_late_interaction_averages_the_best_match_of_each_token(embedder: TransformerEmbedder) -> None:
    query, passage = embedder.embed_tokens(["river boat", PASSAGES[1]])
    expected = (query.vectors @ passage.vectors.T).max(axis=1).mean()
    assert LateInteractionReranker(embedder).score("river boat", [PASSAGES[1]])[0] == pytest.approx(expected, abs=2e-3)


def test_stop_words_and_punctuation_count_less(embedder: TransformerEmbedder) -> None:
    text = "where is the boat ?"
    query, passage = embedder.embed_tokens([text, PASSAGES[1]])
    best = (query.vectors @ passage.vectors.T).max(axis=1)
    words = [text[start:end] for start, end in query.offsets]
    weights = np.array([1.0 if word in "boat" else 0.1 for word in words])
    expected = (best * weights).sum() / weights.sum()
    assert LateInteractionReranker(embedder).score(text, [PASSAGES[1]])[0] == pytest.approx(expected, abs=2e-3)


def test_a_text_matches_itself_best(embedder: TransformerEmbedder) -> None:
    scores = LateInteractionReranker(embedder).score(PASSAGES[1], PASSAGES)
    assert int(np.argmax(scores)) == 1
    assert scores[1] == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize(("cache_bytes", "encoded_again"), [(2**20, 0), (0, len(PASSAGES))])
def test_repeated_passages_are_encoded_once_within_the_cache_limit(
    embedder: TransformerEmbedder, monkeypatch: pytest.MonkeyPatch, cache_bytes: int, encoded_again: int
) -> None:
    asked: list[int] = []
    encode = TransformerEmbedder.embed_tokens

    def counted(self: TransformerEmbedder, texts):
        asked.append(len(texts))
        return encode(self, texts)

    reranker = LateInteractionReranker(embedder, cache_bytes=cache_bytes)
    first = reranker.score("river boat", PASSAGES)
    monkeypatch.setattr(TransformerEmbedder, "embed_tokens", counted)
    np.testing.assert_allclose(reranker.score("river boat", PASSAGES), first, atol=1e-3)
    assert sum(asked) - 1 == encoded_again


def test_settings_choose_the_reranker(embedder: TransformerEmbedder, cross_encoder: Path, tmp_path: Path) -> None:
    def opened(name: str) -> Reranker | None:
        return open_reranker(RagSettings(reranker=name), embedder, bundled=tmp_path)

    assert opened("none") is None
    assert isinstance(opened("auto"), LateInteractionReranker)
    assert isinstance(opened("late-interaction"), LateInteractionReranker)
    assert isinstance(opened(str(cross_encoder)), CrossEncoderReranker)
    with pytest.raises(ModelNotFound, match="capibara models pull owner/absent"):
        opened("owner/absent")


def test_a_classifier_of_several_labels_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = _save_classifier(tiny_model, tmp_path / "three", labels=3)
    with pytest.raises(BackendUnavailable, match="3 scores"):
        CrossEncoderReranker(folder).score("boat", PASSAGES)
