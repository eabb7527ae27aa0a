"""Finds the speech model that the settings name, on this machine alone, and opens it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..config.schema import VoiceSettings
from .errors import SpeechModelNotFound

if TYPE_CHECKING:
    from .whisper import WhisperTranscriber

_SYSTRAN = "tiny tiny.en base base.en small small.en medium medium.en large-v1 large-v2 large-v3"
_DISTILLED = "small.en medium.en large-v2 large-v3"
_OTHERS = {
    "large": "Systran/faster-whisper-large-v3",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
}
_NEEDED = ("model.bin", "config.json", "tokenizer.json")
_VOCABULARY = ("vocabulary.json", "vocabulary.txt")


def hub_name(size: str) -> str | None:
    """The hub's name of the Whisper model that is called ``size`` for short, such as ``small``; None: it is none."""
    if size in _SYSTRAN.split():
        return f"Systran/faster-whisper-{size}"
    kind, _, of = size.partition("-")
    if kind == "distil" and of in _DISTILLED.split():
        return f"Systran/faster-distil-whisper-{of}"
    return _OTHERS.get(size)


def find_speech_model(name: str) -> Path:
    """The folder of ``name``: a folder, the size of a Whisper model, or a hub name in the local cache.

    Raises:
        SpeechModelNotFound: not here, or incomplete; one line with what was looked for and how to fetch it.
    """
    path = Path(name).expanduser()
    full = hub_name(name)
    if path.is_dir() and (full is None or (path / "model.bin").is_file()):
        return _complete(path.resolve(), name)
    if path.is_file():
        raise SpeechModelNotFound(f"speech model {name} is a file; give the folder that holds its model.bin")
    if full is None and (name.startswith((".", "/", "~")) or name.count("/") != 1):
        raise SpeechModelNotFound(f"speech model {name}: no such folder; give one, or a size such as small")
    return _complete(_cached(name, full or name), name)


def _complete(folder: Path, name: str) -> Path:
    missing = [file for file in _NEEDED if not (folder / file).is_file()]
    if not any((folder / file).is_file() for file in _VOCABULARY):
        missing.append(" or ".join(_VOCABULARY))
    if missing:
        pulled = "snapshots" in folder.parts
        again = f"; fetch it again with `capibara models pull {name}`" if pulled else ""
        raise SpeechModelNotFound(
            f"speech model {name}: {folder} lacks {', '.join(missing)}, so it is no model for faster-whisper{again}"
        )
    return folder


def _cached(name: str, full: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(full, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):  # which speak of connections; nothing was to be fetched
        called = name if name == full else f"{name} ({full})"
        raise SpeechModelNotFound(
            f"speech model {called} is not in {HF_HUB_CACHE}: run `capibara models pull {name}`, "
            "or set voice.model to the folder of one"
        ) from None


def open_transcriber(settings: VoiceSettings) -> WhisperTranscriber:
    """The speech model of the settings, light until it is used.

    Raises:
        SpeechModelNotFound: see `find_speech_model`.
    """
    from .whisper import WhisperTranscriber

    folder = find_speech_model(settings.model)
    return WhisperTranscriber(
        folder,
        name=settings.model,
        compute=settings.compute,
        threads=settings.threads,
        device=settings.device,
    )
