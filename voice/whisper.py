"""Whisper through faster-whisper, guarded against words that nobody said."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from .errors import ComputeUnsupported, LanguageUnknown, SpeechModelNotFound, TranscriptionFailed, VoiceUnavailable
from .hallucination import believable, without_loops
from .values import SAMPLE_RATE, DecodeOptions, Segment, Transcript, Word, samples

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

_TOKENS_PER_SECOND = 14
_LEAST_TOKENS = 24
_MOST_TOKENS = 200  # with the longest prompt that faster-whisper makes of hotwords, just under Whisper's limit of 448
_UNSPACED = {"zh", "ja", "th", "lo", "my", "yue"}
_LONGEST = 30 * SAMPLE_RATE
_LEAST_AUDIO = SAMPLE_RATE // 10


class WhisperTranscriber:
    """A Whisper model in CTranslate2's format, from a folder on this machine; loaded on `warm_up` or first use.

    Decoding is deterministic: no sampling, no text from one piece of audio carried to the next. A repetitive result is
    decoded once more with repetition forbidden.

    Args:
        folder: holds ``model.bin``, ``config.json``, ``tokenizer.json`` and a vocabulary.
        name: what messages call it; none: the folder's.
        compute: CTranslate2's name, or "auto": int8 on CPU, float16 on a GPU.
        threads: of one decode; None: all cores.
        device: CTranslate2's name, or "auto": a GPU if there is one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "",
        compute: str = "auto",
        threads: int | None = None,
        device: str = "auto",
    ) -> None:
        self._folder = folder
        self._name = name or folder.name
        self._compute = compute
        self._threads = threads
        self._device = device
        self._loaded: WhisperModel | None = None
        self._languages: tuple[str, ...] = ()
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._name

    @property
    def languages(self) -> tuple[str, ...]:
        """Those of the model's vocabulary.

        Raises:
            SpeechModelNotFound: the model cannot be loaded.
            ComputeUnsupported: not with the arithmetic that was asked for.
        """
        self._model()
        return self._languages

    def warm_up(self) -> None:
        self._model()

    def transcribe(self, audio: Float32[np.ndarray, " S"], options: DecodeOptions) -> Transcript:
        if len(audio) > _LONGEST:
            raise ValueError(f"{len(audio) / SAMPLE_RATE:.1f} s of audio; Whisper takes 30 s at most")
        if len(audio) < _LEAST_AUDIO:
            return Transcript((), options.language or "")
        model = self._model()
        self._check_language(options.language)
        try:
            transcript = self._decode(model, audio, options, forbid_repetition=False)
            if any(segment.compression_ratio > 2.4 for segment in transcript.segments):
                transcript = self._decode(model, audio, options, forbid_repetition=True)
        except (RuntimeError, ValueError, IndexError) as error:
            raise TranscriptionFailed(f"speech model {self.name}: {error}") from error
        return transcript

    def _check_language(self, asked: str | None) -> None:
        if asked is not None and asked not in self._languages:
            known = f"; it knows {', '.join(self._languages)}" if len(self._languages) < 10 else ""
            raise LanguageUnknown(
                f"speech model {self.name} does not know the language {asked!r} (voice.language){known}"
            )

    def _decode(
        self, model: WhisperModel, audio: Float32[np.ndarray, " S"], options: DecodeOptions, forbid_repetition: bool
    ) -> Transcript:
        found, info = model.transcribe(
            audio,
            language=options.language,
            beam_size=options.beam if options.final else 1,
            temperature=0.0,
            condition_on_previous_text=False,
            word_timestamps=True,
            hotwords=" ".join(options.hotwords) or None,
            no_repeat_ngram_size=3 if forbid_repetition else 0,
            max_new_tokens=min(_MOST_TOKENS, _LEAST_TOKENS + round(_TOKENS_PER_SECOND * len(audio) / SAMPLE_RATE)),
        )
        spaced = info.language not in _UNSPACED
        segments = (_segment(segment, len(audio), spaced) for segment in found)
        kept = tuple(segment for segment in segments if believable(segment))
        return Transcript(kept, info.language, float(info.language_probability))

    def _model(self) -> WhisperModel:
        with self._lock:
            if self._loaded is None:
                loaded = self._load()
                self._languages = _languages(loaded)
                self._loaded = loaded
            return self._loaded

    def _load(self) -> WhisperModel:
        try:
            from ctranslate2 import get_cuda_device_count
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise VoiceUnavailable("transcription needs faster-whisper: pip install faster-whisper") from error
        on_gpu = self._device == "cuda" or (self._device == "auto" and get_cuda_device_count() > 0)
        compute = self._compute
        if compute == "auto":
            compute = "float16" if on_gpu else "int8"
        elif not on_gpu:
            _require_on_cpu(compute)
        threads = self._threads or os.cpu_count() or 1
        try:
            return WhisperModel(
                str(self._folder),
                device=self._device,
                compute_type=compute,
                cpu_threads=threads,
                local_files_only=True,
            )
        except Exception as error:  # tokenizers raises nothing more particular
            raise SpeechModelNotFound(
                f"speech model in {self._folder} cannot be loaded ({type(error).__name__}: {error})"
            ) from error


def _require_on_cpu(compute: str) -> None:
    from ctranslate2 import get_supported_compute_types

    if compute not in get_supported_compute_types("cpu"):
        raise ComputeUnsupported(f"voice.compute = {compute} is not possible on this CPU; set it to auto or float32")


def _languages(model: WhisperModel) -> tuple[str, ...]:
    if not model.model.is_multilingual:
        return ("en",)
    number = model.hf_tokenizer.token_to_id
    return tuple(code for code in model.supported_languages if number(f"<|{code}|>") is not None)


def _segment(found: Any, length: int, spaced: bool) -> Segment:
    words: list[Word] = []
    for word in found.words or ():
        text = word.word.strip()
        start = min(max(0, samples(word.start)), length)
        end = min(max(start, samples(word.end)), length)
        if text and words and spaced and not word.word.startswith(" "):  # the "-200" of "TL-200"
            before = words.pop()
            probability = min(before.probability, float(word.probability))
            words.append(replace(before, text=before.text + text, end=max(before.end, end), probability=probability))
        elif text:
            words.append(Word(text, start, end, float(word.probability), spaced))
    kept = without_loops(tuple(words))
    start = kept[0].start if kept else min(samples(found.start), length)
    return Segment(
        start,
        kept[-1].end if kept else start,
        kept,
        float(found.avg_logprob),
        float(found.no_speech_prob),
        float(found.compression_ratio),
    )
