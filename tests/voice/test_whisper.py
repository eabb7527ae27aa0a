"""Real faster-whisper code with the small model of the tests, from audio to events."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from capibara.config.schema import VoiceSettings
from capibara.voice import (
    DecodeOptions,
    EndOfTurn,
    Final,
    LanguageUnknown,
    Partial,
    SharedTranscription,
    SpeechModelNotFound,
    SpeechStarted,
    StreamingTranscriber,
    TranscriptionFailed,
    VoiceEvent,
    WhisperTranscriber,
)

from .tones import ToneTranscriber, spoken
from .transcriber_conformance import TranscriberConformance

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = Path(__file__).with_name("fixture")
SPEECH = ROOT.parent / "shared" / "data" / "speech"
REAL = os.environ.get("CAPIBARA_TEST_WHISPER")


@pytest.fixture(scope="module")
def streams() -> ModuleType:
    spec = importlib.util.spec_from_file_location("speech_streams", ROOT / "benchmarks" / "speech_streams.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def whisper() -> WhisperTranscriber:
    return WhisperTranscriber(FIXTURE / "model")


@pytest.fixture(scope="module")
def clips(streams) -> list:
    rows = json.loads((FIXTURE / "recordings" / "manifest.json").read_text("utf-8"))["recordings"]
    return [
        streams.Clip(
            row["file"],
            row["text"],
            row["language"],
            streams.read_audio(FIXTURE / "recordings" / row["file"]),
            row["start_sample"],
            row["end_sample"],
        )
        for row in rows
    ]


class TestTones(TranscriberConformance):
    @pytest.fixture
    def transcriber(self):
        return ToneTranscriber()

    @pytest.fixture
    def speech(self):
        return spoken("one two three")


class TestWhisper(TranscriberConformance):
    @pytest.fixture
    def transcriber(self, whisper):
        return whisper

    @pytest.fixture
    def speech(self, clips):
        return clips[0].audio


def events_of(streaming: StreamingTranscriber, audio: np.ndarray, piece: int) -> list[VoiceEvent]:
    events = [event for at in range(0, len(audio), piece) for event in streaming.feed(audio[at : at + piece])]
    return events + streaming.finish()


def finals(events: list[VoiceEvent]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


@pytest.fixture(scope="module")
def two_questions(streams, clips):
    """An English question, then a Spanish one, in noise."""
    spanish = next(clip for clip in clips if clip.language == "es")
    return streams.conversation([clips[0], spanish], noise_db=30, silence_share=0.55)


def test_a_question_is_transcribed_while_it_is_spoken_whatever_the_pieces(streams, clips, whisper):
    conversation = streams.conversation([clips[1]], noise_db=30, silence_share=0.5)
    told = [
        events_of(StreamingTranscriber(whisper, VoiceSettings(language="en")), conversation.audio, piece)
        for piece in (160, 7_001, 80_000)
    ]
    assert told[0] == told[1] == told[2]
    events = told[0]
    [final] = finals(events)
    assert streams.word_errors(clips[1].text, final.text)[0] <= 1
    [(start, end)] = conversation.spans
    first = next(event for event in events if isinstance(event, Partial))
    assert first.sample - start <= 1.2 * 16_000
    committed: tuple = ()
    for event in events:
        if isinstance(event, Partial):
            assert event.committed[: len(committed)] == committed
            committed = event.committed
    assert final.words[: len(committed)] == committed
    [turn] = [event for event in events if isinstance(event, EndOfTurn)]
    assert turn.sample - end <= 0.9 * 16_000
    assert abs(next(event for event in events if isinstance(event, SpeechStarted)).start - start) < 0.25 * 16_000


def test_words_carry_their_place_in_the_stream(clips, streams, whisper):
    clip = clips[0]
    lead = 5 * 16_000 + 123
    audio = np.concatenate([np.zeros(lead, np.float32), clip.audio, np.zeros(16_000, np.float32)])
    [final] = finals(events_of(StreamingTranscriber(whisper, VoiceSettings(language="en")), audio, 16_000))
    rows = json.loads((FIXTURE / "recordings" / "manifest.json").read_text("utf-8"))["recordings"]
    expected = [word for row in rows if row["file"] == clip.name for word in row["words"]]
    assert len(final.words) == len(expected)
    off = [abs((w.start - lead) / 16_000 - e["start"]) for w, e in zip(final.words, expected, strict=True)]
    assert np.median(off) < 0.15
    assert max(off) < 0.5


def test_the_language_is_found_once_and_kept(two_questions, whisper):
    streaming = StreamingTranscriber(whisper, partials=False)
    languages = {event.language for event in finals(events_of(streaming, two_questions.audio, 16_000))}
    assert languages == {"en"}


def test_the_gate_saves_two_fifths_of_the_decoding_of_a_stream_that_is_half_silent(streams, clips, whisper):
    conversation, decoded = streams.conversation(clips[:1], noise_db=20), {}
    for vad in ("none", "silero"):
        streaming = StreamingTranscriber(whisper, VoiceSettings(vad=vad, language="en", beam=1, partial_seconds=1.0))
        events_of(streaming, conversation.audio, 16_000)
        decoded[vad] = streaming.metrics.seconds_decoded
    assert decoded["silero"] < 0.6 * decoded["none"]


@pytest.mark.parametrize(
    ("language", "found", "expected"),
    [
        ("en", [" The", " TL", "-200", " logger."], ["The", "TL-200", "logger."]),
        ("en", ["The", " tide"], ["The", "tide"]),
        ("zh", ["我", "们"], ["我", "们"]),
    ],
)
def test_pieces_of_a_word_are_joined_in_languages_with_spaces(monkeypatch, whisper, clips, language, found, expected):
    words = [SimpleNamespace(word=w, start=i / 2, end=i / 2 + 0.4, probability=0.9) for i, w in enumerate(found)]
    scores = {"avg_logprob": -0.1, "no_speech_prob": 0.0, "compression_ratio": 1.0}
    segment = SimpleNamespace(words=words, start=0.0, end=2.0, **scores)
    information = SimpleNamespace(language=language, language_probability=1.0)
    monkeypatch.setattr("faster_whisper.WhisperModel.transcribe", lambda *_, **__: ([segment], information))
    transcript = whisper.transcribe(clips[0].audio, DecodeOptions("en"))
    assert [word.text for word in transcript.words] == expected
    assert transcript.text == "".join(found).strip()


def test_more_hotwords_than_fit_are_cut(clips, whisper):
    hotwords = tuple(f"word{i}" for i in range(300))
    assert whisper.transcribe(clips[0].audio, DecodeOptions("en", hotwords, final=True)).language == "en"


def test_a_language_that_the_model_does_not_know_is_refused_by_name(clips, whisper):
    with pytest.raises(LanguageUnknown, match=r"the language 'fi' \(voice\.language\); it knows en, es"):
        whisper.transcribe(clips[0].audio, DecodeOptions("fi"))


def test_more_audio_than_whisper_takes_is_refused(whisper):
    with pytest.raises(ValueError, match="30 s at most"):
        whisper.transcribe(np.zeros(31 * 16_000, np.float32), DecodeOptions())


def test_a_model_that_fails_says_so(whisper, clips, monkeypatch):
    whisper.warm_up()

    def broken(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("faster_whisper.WhisperModel.transcribe", broken)
    with pytest.raises(TranscriptionFailed, match="out of memory"):
        whisper.transcribe(clips[0].audio, DecodeOptions("en"))


def test_a_folder_without_a_model_is_told(tmp_path):
    with pytest.raises(SpeechModelNotFound, match="cannot be loaded"):
        WhisperTranscriber(tmp_path).warm_up()


def test_a_damaged_model_is_told_with_its_folder_and_the_reason(tmp_path):
    folder = shutil.copytree(FIXTURE / "model", tmp_path / "damaged")
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes()[:200])
    with pytest.raises(SpeechModelNotFound, match=r"damaged cannot be loaded \(Exception: .+\)$"):
        WhisperTranscriber(folder).warm_up()


def test_streams_share_the_model(clips, streams, whisper):
    async def talk(service: SharedTranscription, clip) -> str:
        opened = service.open()

        async def read() -> list[VoiceEvent]:
            return [event async for event in opened]

        reading = asyncio.create_task(read())
        for at in range(0, len(clip.audio), 8_000):
            await opened.send(clip.audio[at : at + 8_000])
        await opened.finish()
        return " ".join(final.text for final in finals(await reading))

    async def run() -> list[str]:
        service = SharedTranscription(whisper, VoiceSettings(language="en"))
        heard = await asyncio.gather(*(talk(service, clip) for clip in clips[:4]))
        service.close()
        return heard

    for clip, heard in zip(clips, asyncio.run(run()), strict=False):
        errors, words = streams.word_errors(clip.text, heard)
        assert errors <= max(1, words // 5), heard


@pytest.mark.skipif(not REAL, reason="CAPIBARA_TEST_WHISPER names no folder of a real Whisper model")
@pytest.mark.skipif(not SPEECH.is_dir(), reason=f"{SPEECH} is not there")
@pytest.mark.parametrize("language", ["en", "es"])
def test_a_real_model_understands_recorded_speech(streams, language):
    transcriber = WhisperTranscriber(Path(REAL or ""))
    if language not in transcriber.languages:
        pytest.skip(f"{REAL} does not know {language}")
    rows = [json.loads(line) for line in (SPEECH / "manifest.jsonl").read_text("utf-8").splitlines()]
    names = [
        row["path"]
        for row in rows
        if row["language"] == language and row["path"].endswith(".wav") and row["seconds"] < 25
        if row["transcript"] and not row.get("partial") and "archive" not in row and "cards" not in row["path"]
    ]
    errors = words = 0
    for clip in streams.read_clips(SPEECH, names):
        streaming = StreamingTranscriber(transcriber, VoiceSettings(language=language), partials=False)
        heard = " ".join(final.text for final in finals(events_of(streaming, clip.audio, 16_000)))
        wrong, expected = streams.word_errors(clip.text, heard)
        errors, words = errors + wrong, words + expected
    assert len(names) >= 8
    assert errors / words < 0.3
