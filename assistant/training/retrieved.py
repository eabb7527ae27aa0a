"""What our own search finds for each question of a data set: the source of hard negatives and of realistic prompts.

Kept beside the data set's index in the cache folder, a line for each question, so that an interrupted run goes on
where it was. A data set may bring the file along (``retrieved.jsonl``): then nothing is searched, and no index needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from ...config.schema import Settings
from ...rag.bulk import BulkRetriever
from ..assistant import Assistant
from ..dataset import GivenPassage, Progress, Question, WorkStopped, home_of, indexed
from ..errors import AssistantError

RETRIEVED = "retrieved.jsonl"
DEPTH = 20
"""Passages kept for each question: as many as a reranker gets to see by default."""

Retrieved = Mapping[str, Sequence[str]]
"""The ids of the passages found for each question's id, best first, as fusion ranks them."""


def retrieved(
    folder: Path,
    passages: Sequence[GivenPassage],
    questions: Sequence[Question],
    settings: Settings,
    report: Progress,
    cancel: threading.Event | None = None,
) -> Retrieved:
    """What is found for every one of ``questions``: read from ``folder`` if it brings it, else searched for and kept.

    Raises:
        WorkStopped: ``cancel`` was set before all were searched for; the next time goes on from there.
        AssistantError: what is read does not fit the passages or the questions, or a passage cannot be indexed.
    """
    brought = folder / RETRIEVED
    if brought.is_file():
        found = dict(_read(brought))
        if missing := [question.id for question in questions if question.id not in found]:
            raise AssistantError(
                f"{brought} has nothing for {len(missing)} questions, such as {missing[0]!r}: delete it to search anew"
            )
        _check_known(brought, found, passages, questions)
        return found
    path = home_of(passages, settings) / f"retrieved-{_digest(settings)}.jsonl"
    found = dict(_read(path)) if path.is_file() else {}
    waiting = [question for question in questions if question.id not in found]
    if waiting:
        with indexed(passages, settings, report, cancel) as assistant, _continued(path) as file:
            for question, ids in _searched(assistant, waiting, report):
                found[question.id] = ids
                file.write(_line(question.id, ids))
                if cancel is not None and cancel.is_set():
                    raise WorkStopped(
                        "stopped while questions were searched for: do the same again to go on from there"
                    )
    _check_known(path, found, passages, questions)
    return found


def write_retrieved(path: Path, found: Retrieved) -> None:
    """Write ``found`` in the form in which a data set brings it along.

    Raises:
        OSError: the file cannot be written.
    """
    unfinished = path.with_name(f".{path.name}")
    with unfinished.open("w", encoding="utf-8") as file:
        for question, ids in found.items():
            file.write(_line(question, ids))
    unfinished.replace(path)


def _continued(path: Path) -> TextIO:
    """``path``, to be written on. A last line that was cut short goes first: what follows would be glued to it."""
    if path.is_file():
        content = path.read_bytes()
        os.truncate(path, content.rfind(b"\n") + 1)
    return path.open("a", encoding="utf-8")


def _check_known(path: Path, found: Retrieved, passages: Sequence[GivenPassage], questions: Sequence[Question]) -> None:
    known = {passage.id for passage in passages}
    for question in questions:
        for one in found[question.id]:
            if one not in known:
                raise AssistantError(
                    f"{path} names passage {one!r}, which is not there, for question {question.id!r}: "
                    "delete it to search anew"
                )


def _line(question: str, ids: Sequence[str]) -> str:
    return json.dumps({"id": question, "passages": list(ids)}) + "\n"


def _searched(
    assistant: Assistant, questions: Sequence[Question], report: Progress
) -> Iterator[tuple[Question, list[str]]]:
    """Fused rankings: the reranker that is to be trained has no part in what it is trained on."""
    library, settings = assistant.library, assistant.settings.rag
    bulk = BulkRetriever(library.store, library.embedder, settings)
    rankings = bulk.search([question.question for question in questions], 2 * DEPTH)
    names: dict[str, str] = {}  # of the passage that each chunk belongs to
    for number, (question, chunks) in enumerate(zip(questions, rankings, strict=True), start=1):
        for chunk, (_, document, _) in library.store.passages([one for one in chunks if one not in names]).items():
            names[chunk] = Path(document.source).stem
        yield question, list(dict.fromkeys(names[chunk] for chunk in chunks))[:DEPTH]
        report("searching", number, len(questions))


def _read(path: Path) -> Iterator[tuple[str, list[str]]]:
    """A line that was cut short by an interruption, or by a machine that stopped, is searched for again."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                yield row["id"], [str(one) for one in row["passages"]]
            except (ValueError, KeyError, TypeError) as error:
                if line.endswith("\n"):
                    raise AssistantError(f"{path}:{number}: is not a line of retrieved passages ({error})") from error


def _digest(settings: Settings) -> str:
    """Names the settings that decide what fusion finds."""
    rag = settings.rag
    chosen = (rag.fusion, rag.alpha, rag.rrf_k, rag.candidates, DEPTH)
    return hashlib.sha256(repr(chosen).encode()).hexdigest()[:12]
