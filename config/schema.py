"""Every setting: its type, unit, range, default and meaning. Values are immutable snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class ModelSettings(Section):
    """The language model that phrases answers."""

    path: str = Field(
        default="default",
        description="GGUF file, Hugging Face folder, cached hub name, or 'default'",
        json_schema_extra={"file_or_name": True},
    )
    compute: Literal["auto", "float32", "int8"] = Field(
        default="auto", description="arithmetic of the weights; auto: int8 on CPU"
    )
    context_tokens: int | None = Field(
        default=None, ge=128, description="context limit in tokens; none: the model's own"
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads; none: all cores")


class GenerationSettings(Section):
    """How the language model decodes."""

    max_tokens: int = Field(default=128, ge=1, le=8192, description="longest generation, in tokens")
    temperature: float = Field(default=0.0, ge=0.0, le=5.0, description="0: greedy")
    top_k: int = Field(default=0, ge=0, description="keep the k likeliest tokens; 0: all")
    top_p: float = Field(default=1.0, gt=0.0, le=1.0, description="nucleus probability mass")
    min_p: Fraction = Field(default=0.0, description="least probability relative to the likeliest token")
    repetition_penalty: float = Field(default=1.0, gt=0.0, le=10.0, description="1: none")
    seed: int | None = Field(default=None, ge=0, description="none: a new one each time")
    stop: tuple[str, ...] = Field(default=(), description="strings that end a generation")


class CollectionSettings(Section):
    """What may differ from one collection to the next; unset values fall back to [rag]."""

    alpha: Fraction | None = Field(default=None, description="weight of the dense score in convex fusion")
    rerank_mix: Fraction | None = Field(
        default=None, description="weight of the reranker's score against the fused one"
    )


class RagSettings(Section):
    """Documents in, ranked passages out."""

    embedding_model: str = Field(
        default="default",
        description="sentence-transformers folder, cached hub name, or 'default'",
        json_schema_extra={"file_or_name": True},
    )
    embedding_backend: Literal["auto", "torch", "openvino", "openvino-int8"] = Field(
        default="auto", description="what runs the embedding model"
    )
    embedding_batch: int = Field(default=32, ge=1, le=1024, description="texts per forward pass")
    chunk_tokens: int | None = Field(
        default=None, ge=16, description="largest chunk in the embedding model's tokens; none: the model's own limit"
    )
    chunk_overlap_sentences: int = Field(
        default=0, ge=0, le=8, description="sentences repeated at the start of the next chunk"
    )
    fusion: Literal["convex", "rrf"] = Field(default="convex", description="how dense and sparse scores are joined")
    alpha: Fraction = Field(default=0.5, description="weight of the dense score in convex fusion")
    rrf_k: int = Field(default=60, ge=1, description="rank constant of reciprocal rank fusion")
    candidates: int = Field(default=100, ge=1, le=1000, description="passages taken from each index before fusion")
    sparse_index: Literal["auto", "rank-bm25", "fts5"] = Field(
        default="auto", description="auto: rank-bm25 for small collections, SQLite FTS5 beyond"
    )
    reranker: str = Field(
        default="auto",
        description="cross-encoder folder or cached hub name, 'late-interaction', 'none'; auto: what is there",
        json_schema_extra={"file_or_name": True},
    )
    rerank_top: int = Field(default=20, ge=1, le=200, description="fused passages that are reranked")
    rerank_mix: Fraction = Field(default=0.5, description="weight of the reranker's score against the fused one")
    top_k: int = Field(default=10, ge=1, le=100, description="passages a search returns")
    dedup: bool = Field(default=True, description="merge chunks that say the same, keeping every source")
    dedup_threshold: Fraction = Field(default=0.97, description="cosine similarity from which two chunks are one")
    follow_symlinks: bool = Field(default=False, description="follow links that stay inside the ingested folder")
    max_file_mb: int = Field(default=512, ge=1, description="larger files are refused, in MiB")
    max_unpacked_mb: int = Field(default=512, ge=1, description="archives that unpack to more are refused, in MiB")
    pdf_passwords: tuple[SecretStr, ...] = Field(default=(), description="tried on encrypted PDFs")
    collections: dict[str, CollectionSettings] = Field(default_factory=dict, description="per collection")


class AssistantSettings(Section):
    """Conversations and answers."""

    collection: str = Field(default="default", description="collection used when none is named")
    answer_style: Literal["evidence", "compose"] = Field(
        default="evidence", description="evidence: quoted sentences first; compose: the model writes with markers"
    )
    evidence_sentences: int = Field(default=2, ge=1, le=5, description="sentences quoted in an answer")
    evidence_passages: int = Field(default=3, ge=1, le=20, description="passages an answer may draw from")
    history_turns: int = Field(
        default=3, ge=0, le=50, description="earlier turns that follow-up questions may refer to"
    )
    least_support: Fraction = Field(
        default=0.5, description="similarity of question and best sentence below which nothing is answered"
    )
    max_words: int = Field(default=60, ge=10, le=1000, description="longest answer of quoted sentences, in words")


class VoiceSettings(Section):
    """Speech to text: when to listen, how to decode, when a turn ends."""

    model: str = Field(
        default="small",
        description="faster-whisper folder, cached hub name, or the size of a Whisper model",
        json_schema_extra={"file_or_name": True},
    )
    compute: Literal["auto", "int8", "int8_float32", "float16", "float32"] = Field(
        default="auto", description="arithmetic of the speech model; auto: int8 on CPU"
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads of the speech model; none: all cores")
    language: str | None = Field(
        default=None, description="code of the language spoken, such as `es`; none: detected once, then kept"
    )
    hotwords: tuple[str, ...] = Field(default=(), description="names and terms to listen for")
    hotwords_from_titles: bool = Field(
        default=False, description="listen for the words of the collection's titles as well"
    )
    beam: int = Field(default=5, ge=1, le=20, description="beams of a final transcript; partial ones take 1")
    partial_seconds: float = Field(
        default=0.5, ge=0.1, le=10.0, description="new speech between two partial transcripts, in seconds"
    )
    window_seconds: float = Field(
        default=10.0,
        ge=3.0,
        le=25.0,
        description="decoded audio is shortened, where words are committed, when it grows longer than this, in seconds",
    )
    vad: Literal["silero", "webrtc", "none"] = Field(
        default="silero",
        description="what opens the gate; silero: webrtcvad confirmed by Silero; none: everything is transcribed",
    )
    aggressiveness: int = Field(default=1, ge=0, le=3, description="of webrtcvad; 3 takes the least for speech")
    opening_threshold: Fraction = Field(default=0.4, description="Silero's probability of speech that opens the gate")
    closing_threshold: Fraction = Field(default=0.35, description="probability of speech below which a frame is silent")
    rms_floor_db: float = Field(
        default=-75.0, ge=-120.0, le=0.0, description="frames below this level are silence, in dB of full scale"
    )
    min_voiced_seconds: float = Field(
        default=0.1, ge=0.02, le=2.0, description="speech that it takes to open the gate, in seconds"
    )
    pre_roll_seconds: float = Field(
        default=0.3, ge=0.0, le=2.0, description="audio kept from before the speech, in seconds"
    )
    tail_seconds: float = Field(default=0.25, ge=0.0, le=2.0, description="audio kept after the speech, in seconds")
    hangover_seconds: float = Field(
        default=0.45, ge=0.1, le=5.0, description="silence that ends an utterance, in seconds"
    )
    max_utterance_seconds: float = Field(
        default=28.0, ge=5.0, le=29.0, description="longer utterances are cut at their quietest place, in seconds"
    )
    idle_timeout_seconds: float = Field(
        default=1.5, gt=0.0, le=60.0, description="an utterance ends when no audio arrives for so long, in seconds"
    )
    endpoint_seconds: float = Field(
        default=0.6, ge=0.1, le=10.0, description="least silence that ends a turn, in seconds"
    )
    endpoint_max_seconds: float = Field(
        default=2.5, ge=0.1, le=30.0, description="silence that ends any turn, in seconds"
    )
    endpoint_adaptive: bool = Field(
        default=True, description="wait longer for speakers whose pauses within a turn are long"
    )
    unfinished_factor: float = Field(
        default=2.5, ge=1.0, le=10.0, description="how much longer to wait after a sentence that sounds unfinished"
    )
    transcript_wait_seconds: float = Field(
        default=10.0, ge=0.1, le=60.0, description="a turn waits at most so long for a slow transcript, in seconds"
    )
    max_backlog_seconds: float = Field(
        default=60.0,
        ge=30.0,
        le=600.0,
        description="audio a live stream holds before it is transcribed; more is dropped and counted, in seconds",
    )
    synthesizer: Literal["auto", "piper", "espeak", "none"] = Field(
        default="auto", description="what speaks; auto: Piper where a voice is set, else espeak-ng, else text only"
    )
    piper_voice: str | None = Field(
        default=None,
        description="Piper voice (an .onnx file), or a folder of voices from which the language chooses",
        json_schema_extra={"file_or_name": True},
    )
    speech_rate: float = Field(default=1.0, ge=0.5, le=3.0, description="pace of the speech; 1: the voice's own")
    speech_ahead_seconds: float = Field(
        default=10.0, ge=1.0, le=120.0, description="speech made ahead of what is heard, in seconds"
    )
    barge_in: bool = Field(default=True, description="speech during an answer pauses it, and words end it")
    barge_in_words: int = Field(
        default=2, ge=1, le=10, description="words that end an answer before the speaker has paused"
    )
    barge_in_wait_seconds: float = Field(
        default=2.0, ge=0.2, le=10.0, description="a paused answer goes on when no words came for so long, in seconds"
    )
    barge_in_speech_seconds: float = Field(
        default=1.0, ge=0.2, le=10.0, description="speech so long ends an answer with fewer words, in seconds"
    )


class LoggingSettings(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="warning", description="least severity shown")


class Settings(Section):
    """One snapshot of every setting; a request sees one from its first step to its last."""

    data_dir: Path | None = Field(default=None, description="where everything is kept; none: the user's data folder")
    model: ModelSettings = ModelSettings()
    generation: GenerationSettings = GenerationSettings()
    rag: RagSettings = RagSettings()
    voice: VoiceSettings = VoiceSettings()
    assistant: AssistantSettings = AssistantSettings()
    logging: LoggingSettings = LoggingSettings()
    hub_token: SecretStr | None = Field(default=None, description="used by `capibara models pull` alone")
