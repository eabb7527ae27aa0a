"""Every backend keeps the Embedder's promises, and agrees with sentence-transformers."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from capibara.config.schema import RagSettings
from capibara.rag.embedding import TransformerEmbedder, open_embedder
from capibara.rag.engines import Backend
from capibara.rag.errors import BackendUnavailable, ModelNotFound
from capibara.rag.models import find_embedding_model, fingerprint
from capibara.rag.protocols import Embedder

LONG = " ".join(["river boat and lake"] * 40)
TEXTS = ["The capybara sleeps by the river.", "", "ferry", LONG, "Night train, north pier: closed!", "ferry"]
BACKENDS = ["torch", "openvino", "openvino-int8"]


class EmbedderConformance:
    """What every `Embedder` promises; a subclass gives the fixture ``embedder``."""

    def test_vectors_are_float32_of_length_one_in_the_order_given(self, embedder: Embedder) -> None:
        vectors = embedder.embed(TEXTS)
        assert vectors.shape == (len(TEXTS), embedder.dimension)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
        for text, vector in zip(TEXTS, vectors, strict=True):
            # a batch may be padded, and int8 rounds what padding moves by a hair
            assert float(embedder.embed([text])[0] @ vector) > 0.999

    def test_no_texts_give_no_vectors(self, embedder: Embedder) -> None:
        assert embedder.embed([]).shape == (0, embedder.dimension)
        assert embedder.embed_tokens([]) == []

    def test_equal_texts_have_equal_vectors_and_different_ones_differ(self, embedder: Embedder) -> None:
        vectors = embedder.embed(TEXTS)
        np.testing.assert_allclose(vectors[2], vectors[5], atol=1e-5)
        assert float(vectors[0] @ vectors[4]) < 0.999

    def test_offsets_cover_the_whole_text_without_special_tokens(self, embedder: Embedder) -> None:
        offsets = embedder.token_offsets(LONG)
        assert offsets.shape[1] == 2
        assert len(offsets) > embedder.max_tokens
        assert [LONG[a:b] for a, b in offsets] == LONG.split()

    def test_an_empty_text_has_no_offsets(self, embedder: Embedder) -> None:
        assert embedder.token_offsets("").shape == (0, 2)

    @pytest.mark.parametrize("text", ["", "ferry", "The capybara sleeps by the river.", LONG])
    def test_token_vectors_stand_for_the_tokens_up_to_the_limit(self, embedder: Embedder, text: str) -> None:
        (tokens,) = embedder.embed_tokens([text])
        expected = embedder.token_offsets(text)[: embedder.max_tokens]
        np.testing.assert_array_equal(tokens.offsets, expected)
        assert tokens.vectors.shape == (len(expected), embedder.dimension)
        assert tokens.vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(tokens.vectors, axis=1), 1.0, atol=1e-5)

    def test_token_vectors_come_in_the_order_of_the_texts(self, embedder: Embedder) -> None:
        lengths = [len(tokens.offsets) for tokens in embedder.embed_tokens(TEXTS)]
        assert lengths == [min(len(embedder.token_offsets(text)), embedder.max_tokens) for text in TEXTS]

    def test_threads_get_what_one_caller_gets(self, embedder: Embedder) -> None:
        alone = embedder.embed(TEXTS)
        with ThreadPoolExecutor(4) as pool:
            for vectors in pool.map(lambda _: embedder.embed(TEXTS), range(8)):
                np.testing.assert_allclose(vectors, alone, atol=1e-5)

    def test_the_fingerprint_names_the_weights_and_not_the_backend(self, embedder: Embedder, tiny_model: Path) -> None:
        other = open_embedder(RagSettings(embedding_model=str(tiny_model), embedding_backend="torch"))
        assert embedder.fingerprint == other.fingerprint


class TestTransformerEmbedder(EmbedderConformance):
    @pytest.fixture(scope="class", params=BACKENDS)
    def embedder(self, request: pytest.FixtureRequest, tiny_model: Path) -> TransformerEmbedder:
        return open_embedder(RagSettings(embedding_model=str(tiny_model), embedding_backend=request.param))


@pytest.fixture(scope="module")
def reference() -> TransformerEmbedder:
    return open_embedder(RagSettings(embedding_backend="torch"))


SENTENCES = [
    "The treaty was signed in 1848 and gave the northern provinces their own courts.",
    "How many tonnes of copper did the mine produce?",
    "Las abejas ventilan la colmena con las alas cuando hace calor.",
    "Return the pump to the maker if the seal leaks; do not open it.",
    " ".join(["A passage that is far longer than the model can read."] * 40),
]


def test_torch_equals_sentence_transformers(reference: TransformerEmbedder) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(find_embedding_model("default").folder), device="cpu")
    np.testing.assert_allclose(
        reference.embed(SENTENCES), model.encode(SENTENCES, normalize_embeddings=True), atol=2e-6
    )


@pytest.mark.parametrize(("backend", "least"), [("openvino", 0.99999), ("openvino-int8", 0.99)])
def test_openvino_agrees_with_torch_on_the_default_model(
    reference: TransformerEmbedder, backend: str, least: float
) -> None:
    embedder = open_embedder(RagSettings.model_validate({"embedding_backend": backend}))
    cosines = (embedder.embed(SENTENCES) * reference.embed(SENTENCES)).sum(axis=1)
    assert cosines.min() > least


@pytest.mark.parametrize("pooling", ["pooling_mode_cls_token", "pooling_mode_mean_tokens"])
def test_the_folders_own_pooling_is_used(tiny_model: Path, tmp_path: Path, pooling: str) -> None:
    shutil.copytree(tiny_model, tmp_path / "pooled")
    config = f'{{"word_embedding_dimension": 32, "{pooling}": true}}'
    (tmp_path / "pooled" / "1_Pooling" / "config.json").write_text(config, "utf-8")
    torch_vectors, openvino_vectors = (
        open_embedder(RagSettings(embedding_model=str(tmp_path / "pooled"), embedding_backend=backend)).embed(TEXTS)
        for backend in ("torch", "openvino")
    )
    np.testing.assert_allclose(openvino_vectors, torch_vectors, atol=1e-5)


def test_auto_falls_back_and_says_why(tiny_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise BackendUnavailable("no such instruction")

    good = open_embedder(RagSettings(embedding_model=str(tiny_model), embedding_backend="openvino"))
    embedder = TransformerEmbedder(
        find_embedding_model(str(tiny_model)), [Backend("first", broken), Backend("second", good._engine)]
    )
    with caplog.at_level(logging.WARNING):
        embedder.warm_up()
    assert embedder.backend == "second"
    assert "first cannot be used" in caplog.text
    assert "no such instruction" in caplog.text


def test_a_model_beyond_plain_pooling_is_left_to_torch(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "prompted")
    (tmp_path / "prompted" / "config_sentence_transformers.json").write_text('{"default_prompt_name": "query"}')
    with pytest.raises(BackendUnavailable, match="embedding_backend = 'torch'"):
        open_embedder(RagSettings(embedding_model=str(tmp_path / "prompted"), embedding_backend="openvino"))


def test_a_dense_module_decides_how_wide_the_vectors_are(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "projected"
    shutil.copytree(tiny_model, folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 9, "name": "9", "path": "9_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "9_Dense").mkdir()
    (folder / "9_Dense" / "config.json").write_text('{"in_features": 32, "out_features": 5}')
    (folder / "9_Dense" / "model.safetensors").write_bytes(b"one")
    model = find_embedding_model(str(folder))
    assert model.dimension == 5
    before = fingerprint(model)
    (folder / "9_Dense" / "model.safetensors").write_bytes(b"other")
    assert fingerprint(model) != before


def test_a_model_of_unknown_width_is_refused_by_name(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(tiny_model, folder)
    config = next(path for path in folder.rglob("config.json") if "hidden_size" in path.read_text())
    config.write_text(json.dumps({k: v for k, v in json.loads(config.read_text()).items() if k != "hidden_size"}))
    with pytest.raises(ModelNotFound, match="how wide its vectors are"):
        find_embedding_model(str(folder))


def test_a_second_start_needs_no_torch(tiny_model: Path) -> None:
    settings = f"RagSettings(embedding_model={str(tiny_model)!r}, embedding_backend='openvino-int8')"
    program = (
        "import sys\nfrom capibara.config.schema import RagSettings\nfrom capibara.rag.embedding import open_embedder\n"
        f"embedder = open_embedder({settings})\nembedder.embed(['ferry'])\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'sentence_transformers')))"
    )
    open_embedder(RagSettings(embedding_model=str(tiny_model), embedding_backend="openvino-int8")).warm_up()
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0


@pytest.mark.parametrize("backend", ["openvino", "openvino-int8"])
def test_ctrl_c_is_heard_after_an_engine_went_on_another_thread_than_it_came_on(backend):
    code = f"""
import os, signal, threading
from capibara.config.schema import RagSettings
from capibara.rag.embedding import open_embedder

heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(1))
held = [open_embedder(RagSettings(embedding_backend="{backend}"))]
held[0].embed(["ferry"])
thread = threading.Thread(target=held.clear)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGINT)
print(len(heard))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
