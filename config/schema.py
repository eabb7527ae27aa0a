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


class LoggingSettings(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="warning", description="least severity shown")


class Settings(Section):
    """One snapshot of every setting; a request sees one from its first step to its last."""

    data_dir: Path | None = Field(default=None, description="where everything is kept; none: the user's data folder")
    model: ModelSettings = ModelSettings()
    generation: GenerationSettings = GenerationSettings()
    rag: RagSettings = RagSettings()
    assistant: AssistantSettings = AssistantSettings()
    logging: LoggingSettings = LoggingSettings()
    hub_token: SecretStr | None = Field(default=None, description="used by `capibara models pull` alone")
