"""Models are found on this machine alone; what is missing is named, with the way out."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from capibara.rag.errors import ModelNotFound
from capibara.rag.models import find_embedding_model, find_model_folder, fingerprint


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def test_the_default_is_the_bundled_model() -> None:
    model = find_embedding_model("default")
    assert (model.dimension, model.max_tokens, model.pooling, model.plain) == (384, 256, "mean", True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/nowhere/at/all", "does not exist"),
        ("./nowhere", "does not exist"),
        ("owner/unheard-of", "capibara models pull owner/unheard-of"),
    ],
)
def test_a_missing_model_is_named_with_the_way_out(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelNotFound, match=message) as caught:
        find_embedding_model(name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("modules.json", "no modules.json"),
        ("model.safetensors", "no weights"),
        ("tokenizer.json", "no tokenizer"),
        ("config.json", "config.json cannot be read"),
    ],
)
def test_an_incomplete_folder_is_refused_by_what_it_lacks(copy: Path, file: str, message: str) -> None:
    (copy / file).unlink()
    with pytest.raises(ModelNotFound, match=message):
        find_embedding_model(str(copy))


def test_a_file_is_not_a_model_folder(copy: Path) -> None:
    with pytest.raises(ModelNotFound, match="is a file"):
        find_embedding_model(str(copy / "config.json"))


@pytest.mark.parametrize("name", ["owner/tiny-encoder", "tiny-encoder"])
def test_a_hub_name_is_found_in_the_local_cache(
    name: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = "owner" if "/" in name else "sentence-transformers"
    repository = tmp_path / f"models--{owner}--tiny-encoder"
    shutil.copytree(tiny_model, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert find_model_folder(name) == repository / "snapshots" / "abc"


def test_the_fingerprint_follows_content_not_place(tiny_model: Path, copy: Path) -> None:
    here, there = find_embedding_model(str(tiny_model)), find_embedding_model(str(copy))
    assert fingerprint(here).rpartition("-")[2] == fingerprint(there).rpartition("-")[2]


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "1_Pooling/config.json"])
def test_the_fingerprint_changes_with_whatever_decides_the_vectors(copy: Path, file: str) -> None:
    before = fingerprint(find_embedding_model(str(copy)))
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content + b"\n")
    assert fingerprint(find_embedding_model(str(copy))) != before


def test_the_fingerprint_is_remembered_until_the_file_changes(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPIBARA_CACHE_DIR", str(tmp_path / "cache"))
    first = fingerprint(find_embedding_model(str(copy)))
    known = json.loads((tmp_path / "cache" / "digests.json").read_text())
    assert any("model.safetensors" in key for key in known)
    weights = copy / "model.safetensors"
    before = weights.stat()
    weights.write_bytes(bytes(reversed(weights.read_bytes())))
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert fingerprint(find_embedding_model(str(copy))) == first, "same size and time: not read again"
    os.utime(weights)
    assert fingerprint(find_embedding_model(str(copy))) != first


def test_a_damaged_digest_cache_is_made_anew(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fingerprint(find_embedding_model(str(copy)))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "digests.json").write_text("{ torn")
    monkeypatch.setenv("CAPIBARA_CACHE_DIR", str(tmp_path / "cache"))
    assert fingerprint(find_embedding_model(str(copy))) == expected
