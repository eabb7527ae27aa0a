"""A folder of passages and questions, as evaluation and training read it, and its index in the cache folder.

The folder holds ``passages.jsonl.gz`` (``id``, ``text``) and ``questions.jsonl.gz`` (``id``, ``question``,
``passage_id``, ``answers``). Every passage is indexed as a document; the data folder lies in the cache folder under
the passages' hash, so that a second run finds its embeddings.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.paths import cache_dir
from ..config.schema import Settings
from ..rag.embedding import open_embedder
from ..rag.values import IngestReport, Passage
from .assistant import Assistant
from .errors import AssistantError

PASSAGES = "passages.jsonl.gz"
QUESTIONS = "questions.jsonl.gz"

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many of it are done, and how many there are."""


class WorkStopped(AssistantError):
    """The work was stopped from outside before it was done; what is done is kept."""


@dataclass(frozen=True, slots=True)
class GivenPassage:
    """One passage of a data set."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """One question; ``passage_id`` names the passage that answers it. Without ``answers`` none does."""

    id: str
    question: str
    passage_id: str
    answers: tuple[str, ...]


def read_passages(folder: Path) -> list[GivenPassage]:
    """The passages of ``folder``.

    Raises:
        AssistantError: the file is missing or holds none, or a line is malformed; the message names the line.
    """
    rows = read_rows(folder / PASSAGES, {"id": str, "text": str})
    passages = [GivenPassage(row["id"], row["text"]) for row in rows]
    if not passages:
        raise AssistantError(f"{folder / PASSAGES} holds no passage")
    return passages


def read_questions(folder: Path) -> list[Question]:
    """The questions of ``folder``, those without an answer among them.

    Raises:
        AssistantError: as `read_passages`.
    """
    rows = read_rows(folder / QUESTIONS, {"id": str, "question": str, "passage_id": str, "answers": list})
    questions = [Question(row["id"], row["question"], row["passage_id"], tuple(row["answers"])) for row in rows]
    if not questions:
        raise AssistantError(f"{folder / QUESTIONS} holds no question")
    return questions


def read_rows(path: Path, fields: dict[str, type]) -> Iterator[dict[str, Any]]:
    """The objects of a gzip'd JSON Lines file, each with ``fields`` of the given types; lists are of text.

    Raises:
        AssistantError: the file is missing or no such file, or a line is malformed; the message names the line.
    """
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise AssistantError(f"{path}:{number}: is not a JSON object")
                for name, kind in fields.items():
                    if name not in row:
                        raise AssistantError(f"{path}:{number}: has no {name!r}")
                    if not isinstance(row[name], kind):
                        raise AssistantError(f"{path}:{number}: {name!r} is {row[name]!r}, not a {kind.__name__}")
                    for one in row[name] if kind is list else ():
                        if not isinstance(one, str):
                            raise AssistantError(f"{path}:{number}: {name!r} holds {one!r}, not a str")
                yield row
    except FileNotFoundError as error:
        raise AssistantError(f"{path} is missing: a data set is a folder with {PASSAGES} and {QUESTIONS}") from error
    except (ValueError, TypeError) as error:
        raise AssistantError(f"{path}:{number}: is not a JSON object ({error})") from error
    except (OSError, EOFError) as error:
        raise AssistantError(f"{path}: is not gzip'd JSON Lines ({error})") from error


@contextlib.contextmanager
def indexed(
    passages: Sequence[GivenPassage], settings: Settings, report: Progress, cancel: threading.Event | None = None
) -> Iterator[Assistant]:
    """An assistant over ``passages``, ready to search, in a data folder of its own: ``settings.data_dir`` is not used.

    Raises:
        WorkStopped: ``cancel`` was set before all were indexed; the next time goes on from there.
        AssistantError: a passage cannot be indexed.
    """
    home = home_of(passages, settings)
    chosen = settings.model_dump(exclude={"data_dir"})
    with Assistant.open(home / "data", overrides=chosen) as assistant:
        _index(assistant, passages, home / "passages", report, cancel)
        assistant.library.warm_up()
        yield assistant


def home_of(passages: Sequence[GivenPassage], settings: Settings) -> Path:
    """Where what is made of ``passages`` is kept; named by all that determines the stored chunks and vectors."""
    rag = settings.rag
    fingerprint = open_embedder(rag).fingerprint
    fixed = (fingerprint, rag.chunk_tokens, rag.chunk_overlap_sentences, rag.dedup, rag.dedup_threshold)
    whole = hashlib.sha256(repr(fixed).encode())
    for passage in passages:
        whole.update(f"{passage.id}\0{passage.text}\0".encode())
    return cache_dir() / "evaluation" / whole.hexdigest()[:24]


def ids_of(passage: Passage) -> set[str]:
    """The data set's ids of a passage that was found; one merged into another counts where it stands."""
    sources = {passage.document.source, *(alias.source for alias in passage.aliases)}
    return {Path(source).stem for source in sources}


def _index(
    assistant: Assistant,
    passages: Sequence[GivenPassage],
    folder: Path,
    report: Progress,
    cancel: threading.Event | None,
) -> None:
    """Write each passage into a file of its own, the id as its name, and ingest them."""
    folder.mkdir(parents=True, exist_ok=True)
    for passage in passages:
        if Path(passage.id).name != passage.id:
            raise AssistantError(f"passage id {passage.id!r} cannot be a file name: use letters, digits and dashes")
        file = folder / f"{passage.id}.txt"
        if not file.exists():
            whole = file.with_suffix(".part")
            whole.write_text(passage.text, encoding="utf-8")
            whole.replace(file)
    done: IngestReport = assistant.ingest(
        folder,
        progress=lambda state: report("indexing passages", state.files_done, state.files_total),
        cancel=cancel,
    )
    if failed := [outcome for outcome in done.files if outcome.status == "failed"]:
        raise AssistantError(f"{len(failed)} passages were not indexed; {failed[0].source}: {failed[0].reason}")
    if done.cancelled:
        raise WorkStopped("stopped while passages were indexed: do the same again to go on from there")
