"""Fetches a model from the Hugging Face hub into its cache: resumed where it broke off, checked file by file.

The hub's own client (huggingface_hub 2.4) throws a partly downloaded file away when its process ends and checks
sizes only. So the files are fetched here, into the client's documented cache layout (``blobs``, ``snapshots``,
``refs``), where it and every library on top of it find them.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_OTHER_FRAMEWORKS = ("*.h5", "*.msgpack", "*.ot", "*.onnx", "*.onnx_data", "*.tflite", "*.mlmodel", "openvino/*")
_OLD_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_TORCH_WEIGHTS = (*_OLD_WEIGHTS, "*.safetensors")
_CTRANSLATE2_ONLY = ("vocabulary.json", "vocabulary.txt")
"""Files that stand beside the ``model.bin`` of CTranslate2, which faster-whisper reads."""


class HubError(Exception):
    """A model cannot be fetched; the message names it, the cause and the way out."""


class DownloadCancelled(Exception):
    """The download was stopped; what has arrived is kept and resumed next time."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a model as the hub describes it: LFS files have a SHA-256, all others a git blob id."""

    path: str
    size: int
    blob_id: str
    sha256: str | None

    @property
    def checksum(self) -> str:
        return self.sha256 or self.blob_id


@dataclass(frozen=True, slots=True)
class PulledModel:
    """A model that is complete and checked in the cache. ``fetched`` counts bytes that came over the network."""

    name: str
    commit: str
    folder: Path
    files: int
    bytes: int
    fetched: int


Progress = Callable[[str, int, int], None]
"""Called with what is going on, bytes done and bytes in all."""


def pull(
    name: str,
    *,
    token: str | None = None,
    include: Sequence[str] = (),
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> PulledModel:
    """Fetch the model ``name`` (``owner/model``) and check every file against the hub's checksums.

    ``include`` limits the files to those whose path fits a pattern such as ``*Q4_0.gguf``. Files already in
    the cache are checked too, and fetched again when damaged; a file that broke off goes on where it stopped.

    Raises:
        HubError: the hub or the model cannot be reached, a file keeps arriving damaged, or there is no room.
        DownloadCancelled: ``cancel`` was set.
    """
    import httpx2
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    api = HfApi(token=token)
    try:
        return _pull(api, name, include, progress or _silent, cancel or threading.Event())
    except HFValidationError as error:
        raise HubError(f"{name}: not a model of the hub; names look like owner/model ({error})") from error
    except GatedRepoError as error:
        raise HubError(f"{name}: its owner must grant you access first; then set keys.hub") from error
    except RepositoryNotFoundError as error:
        raise HubError(f"{name}: no such model on {api.endpoint}, or it is private (set keys.hub)") from error
    except OfflineModeIsEnabled as error:
        raise HubError(f"{name}: HF_HUB_OFFLINE forbids the hub; unset it to pull models") from error
    except HfHubHTTPError as error:
        raise HubError(f"{name}: {api.endpoint} answered {error.response.status_code}; try again later") from error
    except httpx2.HTTPError as error:
        cause = str(error) or type(error).__name__
        raise HubError(f"{name}: cannot reach {api.endpoint} ({cause}); what has arrived is kept") from error
    except OSError as error:
        place = error.filename or constants.HF_HUB_CACHE
        raise HubError(f"{name}: cannot be stored ({place}: {error.strerror or error})") from error


def _pull(api: HfApi, name: str, include: Sequence[str], progress: Progress, cancel: threading.Event) -> PulledModel:
    from huggingface_hub import constants
    from huggingface_hub.hf_api import RepoFile

    name, commit = _resolve(api, name)
    tree = [
        HubFile(entry.path, entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None)
        for entry in api.list_repo_tree(name, recursive=True, revision=commit)
        if isinstance(entry, RepoFile)
    ]
    files = wanted_files(name, tree, include)
    storage = Path(constants.HF_HUB_CACHE).expanduser() / f"models--{name.replace('/', '--')}"
    snapshot = storage / "snapshots" / commit
    total, done, fetched = sum(file.size for file in files), 0, 0
    for file in files:
        start = done

        def advance(bytes_of_file: int, file: HubFile = file, start: int = start) -> None:
            if cancel.is_set():
                raise DownloadCancelled(f"{name}: stopped; the next pull goes on from here")
            progress(file.path, start + bytes_of_file, total)

        fetched += _provide(api, name, commit, file, storage, advance)
        _link(storage / "blobs" / file.checksum, snapshot / file.path)
        done += file.size
    # Only now is the model complete, so only now may the name lead to it.
    _write_ref(storage / "refs" / "main", commit)
    return PulledModel(name, commit, snapshot, len(files), total, fetched)


def _resolve(api: HfApi, name: str) -> tuple[str, str]:
    """The full name and newest commit; a name without owner may be one of sentence-transformers' models."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        commit = api.repo_info(name).sha
    except RepositoryNotFoundError:
        if "/" in name:
            raise
        name = f"sentence-transformers/{name}"
        commit = api.repo_info(name).sha
    if commit is None:
        raise HubError(f"{name}: the hub names no version of it")
    return name, commit


def wanted_files(name: str, tree: Iterable[HubFile], include: Sequence[str] = ()) -> list[HubFile]:
    """The files of a model that are worth fetching: one set of weights, and none for other frameworks.

    Raises:
        HubError: nothing fits ``include``, or there are several GGUF files to choose from.
    """
    files = sorted(tree, key=lambda file: file.path)
    for file in files:
        if file.path.startswith("/") or ".." in Path(file.path).parts or "\\" in file.path:
            raise HubError(f"{name}: the hub lists a file outside the model's folder ({file.path})")
    if include:
        chosen = [file for file in files if _fits(file.path, include)]
        if not chosen:
            raise HubError(f"{name}: no file fits {' '.join(include)}; it holds {_listing(files)}")
        return chosen
    files = [file for file in files if not _fits(file.path, _OTHER_FRAMEWORKS)]
    if any(file.path in _CTRANSLATE2_ONLY for file in files):
        files = [file for file in files if file.path == "model.bin" or not _fits(file.path, _TORCH_WEIGHTS)]
    elif any(file.path.endswith(".safetensors") for file in files):
        files = [file for file in files if not _fits(file.path, _OLD_WEIGHTS)]
    ggufs = [file for file in files if file.path.endswith(".gguf")]
    if len(ggufs) > 1:
        raise HubError(f"{name}: holds {len(ggufs)} GGUF files; choose with --include: {_listing(ggufs)}")
    return files


def _provide(api: HfApi, name: str, commit: str, file: HubFile, storage: Path, advance: Callable[[int], None]) -> int:
    """Make sure the blob of ``file`` is there and sound; return how many bytes had to be fetched."""
    blob = storage / "blobs" / file.checksum
    if blob.exists() and _is_sound(blob, file, advance):
        return 0
    part = blob.with_name(f"{blob.name}.capibara-part")
    part.parent.mkdir(parents=True, exist_ok=True)
    resumed = part.exists() and 0 < part.stat().st_size <= file.size
    fetched = _fetch(api, name, commit, file, part, advance, resume=resumed)
    if resumed and not _is_sound(part, file, advance):
        # What was left of the earlier attempt may be what is wrong.
        fetched += _fetch(api, name, commit, file, part, advance, resume=False)
    if not _is_sound(part, file, advance):
        part.unlink()
        raise HubError(f"{name}: {file.path} arrived damaged (its checksum differs from the hub's); pull it again")
    part.replace(blob)
    return fetched


def _fetch(
    api: HfApi, name: str, commit: str, file: HubFile, part: Path, advance: Callable[[int], None], *, resume: bool
) -> int:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers, disable_progress_bars

    disable_progress_bars("huggingface_hub.http_get")
    with part.open("ab" if resume else "wb") as stream:
        have = stream.tell()
        if shutil.disk_usage(part.parent).free < file.size - have:
            raise HubError(f"{name}: no room for {file.path} ({file.size - have:,} bytes) in {part.parent}")
        if file.size > have:
            url = hf_hub_url(name, file.path, revision=commit, endpoint=api.endpoint)
            counted = cast(BinaryIO, _Counted(stream, advance))
            headers = {**build_hf_headers(token=api.token), "Accept-Encoding": "identity"}
            try:
                http_get(url, counted, resume_size=have, headers=headers, expected_size=file.size)
            except OSError as error:
                if error.errno is not None:  # the disk's, not the connection's
                    raise
                raise HubError(f"{name}: {file.path} broke off; pull it again, what has arrived is kept") from error
        return stream.tell() - have


class _Counted:
    """A file open for writing that reports its length after each write."""

    def __init__(self, stream: BinaryIO, advance: Callable[[int], None]) -> None:
        self._stream = stream
        self._advance = advance

    def write(self, piece: bytes) -> int:
        self._advance(self._stream.tell())
        return self._stream.write(piece)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def _is_sound(path: Path, file: HubFile, advance: Callable[[int], None]) -> bool:
    """True when the content has the hub's checksum: SHA-256, or git's SHA-1 over a header and the content."""
    if path.stat().st_size != file.size:
        return False
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
            advance(stream.tell())
    return digest.hexdigest() == file.checksum


def _link(blob: Path, place: Path) -> None:
    """Let ``place`` in the snapshot lead to ``blob``, by a relative link or, where there are none, by a copy."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    try:
        place.symlink_to(os.path.relpath(blob, place.parent))
    except OSError:
        shutil.copyfile(blob, place)


def _write_ref(ref: Path, commit: str) -> None:
    ref.parent.mkdir(parents=True, exist_ok=True)
    new = ref.with_name(f"{ref.name}.capibara-part")
    new.write_text(commit, encoding="ascii")
    new.replace(ref)


def _fits(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(path, pattern) for pattern in patterns)


def _listing(files: Sequence[HubFile], most: int = 12) -> str:
    names = [file.path for file in files[:most]]
    return ", ".join(names) + (f" and {len(files) - most} more" if len(files) > most else "")


def _silent(_what: str, _done: int, _total: int) -> None:
    """No one wants to know."""
