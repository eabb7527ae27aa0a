"""The settings of the voice room: listening, understanding, speaking and being interrupted."""

from __future__ import annotations

from typing import ClassVar, Literal

from .fields import Applies, Fraction, Section, setting


class VoiceSettings(Section):
    """Speech to text and back. A change takes effect at the next utterance, or the next answer, of a stream."""

    APPLIES: ClassVar[Applies] = "next utterance"

    model: str = setting(
        "small", "faster-whisper folder, cached hub name, or the size of a Whisper model", takes="file or name"
    )
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "what runs the speech model; auto: a GPU if there is one")
    compute: Literal["auto", "int8", "int8_float32", "float16", "float32"] = setting(
        "auto", "arithmetic of the speech model; auto: int8 on CPU"
    )
    threads: int | None = setting(None, "CPU threads of the speech model; none: all cores", ge=1)
    language: str | None = setting(None, "code of the language spoken, such as `es`; none: detected once, then kept")
    hotwords: tuple[str, ...] = setting((), "names and terms to listen for")
    hotwords_from_titles: bool = setting(False, "listen for the words of the collection's titles as well")
    beam: int = setting(5, "beams of a final transcript; partial ones take 1", ge=1, le=20)
    partial_seconds: float = setting(0.5, "new speech between two partial transcripts", unit="seconds", ge=0.1, le=10.0)
    window_seconds: float = setting(
        10.0,
        "decoded audio is shortened, where words are committed, when it grows longer than this",
        unit="seconds",
        ge=3.0,
        le=25.0,
    )
    vad: Literal["silero", "webrtc", "none"] = setting(
        "silero", "what opens the gate; silero: webrtcvad confirmed by Silero; none: everything is transcribed"
    )
    aggressiveness: int = setting(1, "of webrtcvad; 3 takes the least for speech", ge=0, le=3)
    opening_threshold: Fraction = setting(0.4, "Silero's probability of speech that opens the gate")
    closing_threshold: Fraction = setting(0.35, "probability of speech below which a frame is silent")
    rms_floor_db: float = setting(
        -75.0, "frames below this level are silence", unit="dB of full scale", ge=-120.0, le=0.0
    )
    min_voiced_seconds: float = setting(0.1, "speech that it takes to open the gate", unit="seconds", ge=0.02, le=2.0)
    pre_roll_seconds: float = setting(0.3, "audio kept from before the speech", unit="seconds", ge=0.0, le=2.0)
    tail_seconds: float = setting(0.25, "audio kept after the speech", unit="seconds", ge=0.0, le=2.0)
    hangover_seconds: float = setting(0.45, "silence that ends an utterance", unit="seconds", ge=0.1, le=5.0)
    max_utterance_seconds: float = setting(
        28.0, "longer utterances are cut at their quietest place", unit="seconds", ge=5.0, le=29.0
    )
    idle_timeout_seconds: float = setting(
        1.5, "an utterance ends when no audio arrives for so long", unit="seconds", gt=0.0, le=60.0
    )
    endpoint_seconds: float = setting(0.6, "least silence that ends a turn", unit="seconds", ge=0.1, le=10.0)
    endpoint_max_seconds: float = setting(2.5, "silence that ends any turn", unit="seconds", ge=0.1, le=30.0)
    endpoint_adaptive: bool = setting(True, "wait longer for speakers whose pauses within a turn are long")
    unfinished_factor: float = setting(
        2.5, "how much longer to wait after a sentence that sounds unfinished", ge=1.0, le=10.0
    )
    transcript_wait_seconds: float = setting(
        10.0, "a turn waits at most so long for a slow transcript", unit="seconds", ge=0.1, le=60.0
    )
    max_backlog_seconds: float = setting(
        60.0,
        "audio a live stream holds before it is transcribed; more is dropped and counted",
        unit="seconds",
        ge=30.0,
        le=600.0,
    )
    synthesizer: Literal["auto", "piper", "espeak", "none"] = setting(
        "auto", "what speaks; auto: Piper where a voice is set, else espeak-ng, else text only", applies="next answer"
    )
    piper_voice: str | None = setting(
        None,
        "Piper voice (an .onnx file), or a folder of voices from which the language chooses",
        takes="file or name",
        applies="next answer",
    )
    speech_rate: float = setting(1.0, "pace of the speech; 1: the voice's own", ge=0.5, le=3.0, applies="next answer")
    speech_ahead_seconds: float = setting(
        10.0, "speech made ahead of what is heard", unit="seconds", ge=1.0, le=120.0, applies="next answer"
    )
    barge_in: bool = setting(True, "speech during an answer pauses it, and words end it", applies="next answer")
    barge_in_words: int = setting(
        2, "words that end an answer before the speaker has paused", ge=1, le=10, applies="next answer"
    )
    barge_in_wait_seconds: float = setting(
        2.0,
        "a paused answer goes on when no words came for so long",
        unit="seconds",
        ge=0.2,
        le=10.0,
        applies="next answer",
    )
    barge_in_speech_seconds: float = setting(
        1.0, "speech so long ends an answer with fewer words", unit="seconds", ge=0.2, le=10.0, applies="next answer"
    )
