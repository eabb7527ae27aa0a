"""Every setting: its type, unit, range, default and meaning. Values are immutable snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import SecretStr

from .fields import Applies, Fraction, Section, setting
from .mesh import MeshText
from .voice_schema import VoiceSettings

SCHEMA_VERSION = 3
"""Of the settings' names and meanings; `migrate` brings a file of an earlier one up to it."""


class ModelSettings(Section):
    """The language model that phrases answers. Another one is loaded beside the one in use, then takes its place."""

    path: str = setting(
        "default", "GGUF file, Hugging Face folder, cached hub name, or 'default'", takes="file or name"
    )
    device: Literal["auto", "cpu", "gpu", "tpu"] = setting("auto", "what runs it; auto: the best that JAX finds")
    mesh: MeshText = setting(
        "none",
        'devices that share the model; none: one runs it all; auto: all there are; or "tensor=4", "data=2,tensor=4"',
    )
    compute: Literal["auto", "float32", "bfloat16", "int8", "int8-weights", "int4-weights"] = setting(
        "auto",
        "arithmetic of the weights; auto: int8 on CPU, bfloat16 elsewhere; int8-weights, int4-weights: weights alone "
        "are rounded, in groups",
    )
    context_tokens: int | None = setting(None, "context limit; none: the model's own", unit="tokens", ge=128)
    cache: Literal["float", "int8"] = setting(
        "float", "keys and values of the texts at work; float: as they are reckoned; int8: rounded, in less memory"
    )
    head_pattern: str = setting(
        "none",
        "TOML file that says which heads keep the whole text; the others keep its beginning and newest tokens; none",
        takes="file or name",
    )
    reader: str = setting(
        "auto",
        "adapter (PEFT folder) that answers from passages; auto: the bundled one, if it was made for this model; none",
        takes="file or name",
    )
    reader_mode: Literal["merged", "low-rank"] = setting(
        "merged", "merged: weights of its own, fast; low-rank: beside the model's weights, little memory"
    )
    concurrent_generations: int = setting(8, "generations that run at once; more wait", ge=1, le=64)
    waiting_generations: int = setting(256, "generations that may wait; more are refused", ge=1, le=100_000)
    prefix_cache_mib: int = setting(
        256, "memory for the beginnings of earlier prompts, which are not run again; 0: none", unit="MiB", ge=0
    )
    speculate: bool = setting(True, "draft what may come next, and check several tokens at once")
    draft: str = setting(
        "none",
        "smaller model with the same tokens that drafts where the text does not repeat itself, named as in "
        "`model.path`; none: nothing but what stands in the text is drafted",
        takes="file or name",
    )
    threads: int | None = setting(None, "CPU threads; none: all cores", applies="restart", ge=1)


class GenerationSettings(Section):
    """How the language model decodes."""

    max_tokens: int = setting(128, "longest generation", unit="tokens", ge=1, le=8192)
    temperature: float = setting(0.0, "0: greedy", ge=0.0, le=5.0)
    top_k: int = setting(0, "keep the k likeliest tokens; 0: all", ge=0)
    top_p: float = setting(1.0, "nucleus probability mass", gt=0.0, le=1.0)
    min_p: Fraction = setting(0.0, "least probability relative to the likeliest token")
    repetition_penalty: float = setting(1.0, "1: none", gt=0.0, le=10.0)
    seed: int | None = setting(None, "none: a new one each time", ge=0)
    stop: tuple[str, ...] = setting((), "strings that end a generation")


class CollectionSettings(Section):
    """What may differ from one collection to the next; unset values fall back to [rag]."""

    alpha: Fraction | None = setting(None, "weight of the dense score in convex fusion")
    rerank_mix: Fraction | None = setting(None, "weight of the reranker's score against the fused one")


class RagSettings(Section):
    """Documents in, ranked passages out."""

    embedding_model: str = setting(
        "default",
        "sentence-transformers folder, cached hub name, or 'default'",
        applies="restart",
        takes="file or name",
    )
    embedding_backend: Literal["auto", "torch", "openvino", "openvino-int8"] = setting(
        "auto", "what runs the embedding model", applies="restart"
    )
    embedding_batch: int = setting(32, "texts per forward pass", applies="next document", ge=1, le=1024)
    chunk_tokens: int | None = setting(
        None,
        "largest chunk, in the embedding model's tokens; none: the model's own limit",
        unit="tokens",
        applies="next document",
        ge=16,
    )
    chunk_overlap_sentences: int = setting(
        0, "sentences repeated at the start of the next chunk", applies="next document", ge=0, le=8
    )
    fusion: Literal["convex", "rrf"] = setting("convex", "how dense and sparse scores are joined")
    alpha: Fraction = setting(0.5, "weight of the dense score in convex fusion")
    rrf_k: int = setting(60, "rank constant of reciprocal rank fusion", ge=1)
    candidates: int = setting(100, "passages taken from each index before fusion", ge=1, le=1000)
    sparse_index: Literal["auto", "rank-bm25", "fts5"] = setting(
        "auto", "auto: rank-bm25 for small collections, SQLite FTS5 beyond", applies="restart"
    )
    reranker: str = setting(
        "auto",
        "cross-encoder folder or cached hub name, 'late-interaction', 'none'; auto: what is there",
        takes="file or name",
    )
    extractor: str = setting(
        "auto",
        "adapter (PEFT folder) over the embedding model that points at the answer in a passage; auto: the bundled one, "
        "in the style short, where both models are the bundled ones and model.reader names none; none: the language "
        "model reads",
        takes="file or name",
    )
    rerank_top: int = setting(20, "fused passages that are reranked", ge=1, le=200)
    rerank_mix: Fraction = setting(0.5, "weight of the reranker's score against the fused one")
    top_k: int = setting(10, "passages a search returns", ge=1, le=100)
    dedup: bool = setting(True, "merge chunks that say the same, keeping every source", applies="next document")
    dedup_threshold: Fraction = setting(
        0.97, "cosine similarity from which two chunks are one", applies="next document"
    )
    follow_symlinks: bool = setting(False, "follow links that stay inside the ingested folder", applies="next document")
    max_file_mb: int = setting(512, "larger files are refused", unit="MiB", applies="next document", ge=1)
    max_unpacked_mb: int = setting(
        512, "archives that unpack to more are refused", unit="MiB", applies="next document", ge=1
    )
    pdf_passwords: tuple[SecretStr, ...] = setting((), "tried on encrypted PDFs", applies="next document")
    collections: dict[str, CollectionSettings] = setting({}, "per collection")


class AssistantSettings(Section):
    """Conversations and answers."""

    collection: str = setting("default", "collection used when none is named")
    answer_style: Literal["short", "sentence", "quote", "compose"] = setting(
        "sentence",
        "short: the reader's phrase; sentence: with the sentence that holds it; quote: the best sentences, without a "
        "language model; compose: the model writes freely, with markers",
    )
    evidence_sentences: int = setting(2, "sentences quoted in an answer (`quote`)", ge=1, le=5)
    evidence_passages: int = setting(3, "passages an answer may draw from", ge=1, le=20)
    history_turns: int = setting(3, "earlier turns that follow-up questions may refer to", ge=0, le=50)
    least_support: Fraction = setting(0.5, "similarity of question and best sentence below which nothing is answered")
    abstain_bias: float = setting(
        0.0,
        "added to a reader's inclination to say that the passages do not tell, as a logarithm; lower: it answers more "
        "readily; 0: the balance that was measured best",
        ge=-20.0,
        le=20.0,
    )
    max_words: int = setting(60, "longest answer of quoted sentences", unit="words", ge=10, le=1000)
    variants_by: Literal["conversation", "request"] = setting(
        "conversation", "what is assigned to a variant as a whole; a question outside a conversation is its own"
    )
    persona: str = setting("", "who the model is when it writes answers (`compose`)", takes="text or file")


class PromptSettings(Section):
    """What the language model is told. An empty one is the project's own."""

    compose: str = setting("", "how to write an answer from numbered passages (`compose`)", takes="text or file")
    condense: str = setting("", "how to make a follow-up question stand alone", takes="text or file")


class LimitSettings(Section):
    """What one request, and all of them together, may take."""

    question_characters: int = setting(10_000, "longer questions are refused", unit="characters", ge=10, le=1_000_000)
    request_seconds: float | None = setting(
        None,
        "a request is stopped after so long, with what it has; none: never",
        unit="seconds",
        gt=0.0,
        allow_inf_nan=False,
    )
    concurrent_requests: int = setting(8, "questions answered at the same time; others wait", ge=1, le=1000)


class KeySettings(Section):
    """Secrets; masked wherever settings are shown."""

    hub: SecretStr | None = setting(None, "used by `capibara models pull` alone")


class VariantSettings(Section):
    """Other settings for a share of the requests, to compare the two."""

    share: Fraction = setting(0.0, "part of the conversations, or requests, that gets this variant")
    set: dict[str, Any] = setting({}, "the settings that differ, as a table")


class LoggingSettings(Section):
    """What is written to standard error."""

    APPLIES: ClassVar[Applies] = "at once"

    level: Literal["debug", "info", "warning", "error"] = setting("warning", "least severity shown")


class Settings(Section):
    """One snapshot of every setting; a request sees one from its first step to its last."""

    data_dir: Path | None = setting(None, "where everything is kept; none: the user's data folder", applies="restart")
    model: ModelSettings = ModelSettings()
    generation: GenerationSettings = GenerationSettings()
    rag: RagSettings = RagSettings()
    voice: VoiceSettings = VoiceSettings()
    assistant: AssistantSettings = AssistantSettings()
    prompts: PromptSettings = PromptSettings()
    limits: LimitSettings = LimitSettings()
    logging: LoggingSettings = LoggingSettings()
    keys: KeySettings = KeySettings()
    variants: dict[str, VariantSettings] = setting({}, "by name")
