"""The facade on real documents with the bundled models."""

from __future__ import annotations

import asyncio
import threading
import tomllib
from concurrent.futures import Future
from pathlib import Path

import pytest

from capibara.assistant import AnswerReady, Assistant, Retrieved, TextDelta
from capibara.assistant.answering import Answerer
from capibara.assistant.errors import AssistantError, EmptyQuestion, UnknownConversation
from capibara.config.watch import FileWatcher

QUESTIONS = tomllib.loads((Path(__file__).resolve().parents[2] / "examples" / "questions.toml").read_text("utf-8"))
MUSTER = "Where is the muster point when the alarm sounds?"


def test_an_answer_quotes_the_right_sentence_with_page_and_exact_span(examples: Assistant):
    answer = examples.ask(MUSTER)
    assert "whale jaw" in answer.text
    first = answer.citations[0]
    assert Path(first.document).name == "safety-procedures.pdf"
    assert first.page == 1
    assert "whale jaw" in first.quote
    assert examples.library.text(first.document_id, first.start, first.end) == first.quote
    assert not answer.abstained
    assert answer.degraded == ()
    assert answer.finish_reason == "stop"
    assert answer.usage.completion_tokens > 0
    assert {"condense", "evidence", "generate", "total"} <= set(answer.timings)


def test_streamed_pieces_joined_are_the_answer_and_retrieval_comes_first(examples: Assistant):
    events = list(examples.stream(MUSTER))
    assert isinstance(events[0], Retrieved)
    assert isinstance(events[-1], AnswerReady)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == events[-1].answer.text


@pytest.mark.parametrize("language", ["en", "es"])
def test_nearly_all_example_questions_are_answered_from_the_right_document(examples: Assistant, language):
    asked = [row for row in QUESTIONS["questions"] if row["language"] == language][:8]
    right = 0
    for row in asked:
        answer = examples.ask(row["question"])
        cited = {Path(citation.document).name for citation in answer.citations}
        said = answer.text.casefold()
        right += any(part.casefold() in said for part in row["expected"]) and row["file"] in cited
        for citation in answer.citations:
            assert examples.library.text(citation.document_id, citation.start, citation.end) == citation.quote
    assert right >= len(asked) - 1


def test_what_no_document_says_is_not_answered(examples: Assistant):
    answer = examples.ask("Who won the chess world championship in 1972?")
    assert answer.abstained
    assert answer.citations == ()
    assert answer.text == "I could not find an answer to that in your documents."


def test_the_refusal_speaks_the_language_of_the_question(examples: Assistant):
    answer = examples.ask("¿Quién ganó el campeonato mundial de ajedrez en el año 1972?")
    assert answer.abstained
    assert answer.text.startswith("No he encontrado")


@pytest.mark.parametrize("question", ["", "  \n "])
def test_an_empty_question_is_refused(examples: Assistant, question):
    with pytest.raises(EmptyQuestion, match="empty"):
        examples.ask(question)


def test_a_follow_up_question_is_searched_with_what_it_refers_to(examples: Assistant):
    conversation = examples.start_conversation()
    examples.ask("How much does a night in Casa Garza cost?", conversation=conversation)
    answer = examples.ask("And is breakfast included there?", conversation=conversation)
    assert "Garza" in answer.question
    assert [turn.question for turn in examples.conversations.turns(conversation)] == [
        "How much does a night in Casa Garza cost?",
        "And is breakfast included there?",
    ]


def test_a_conversation_is_answered_from_the_collection_it_was_begun_over(tmp_path, note):
    with Assistant.open(tmp_path / "data") as assistant:
        assistant.ingest(note, "letters")
        conversation = assistant.start_conversation("letters")
        assert assistant.ask("Where does the spare key hang?", conversation=conversation).citations
        assert assistant.ask("Where does the spare key hang?", "default", conversation=conversation).abstained


def test_cancelling_does_not_wait_for_a_model_that_is_loading(examples: Assistant):
    cancel, never = threading.Event(), Future()
    answerer = Answerer(examples.library, examples.library.parts(), lambda: never, examples.settings)
    events = answerer.stream(MUSTER, "default", [], cancel)
    assert isinstance(next(events), Retrieved)
    threading.Timer(0.1, cancel.set).start()
    *_, last = events
    assert isinstance(last, AnswerReady)
    assert last.answer.finish_reason == "cancelled"
    assert last.answer.citations


def test_an_unknown_conversation_is_refused(examples: Assistant):
    with pytest.raises(UnknownConversation):
        examples.ask(MUSTER, conversation="nowhere")


def test_a_cancelled_answer_says_so_and_is_not_kept(examples: Assistant):
    conversation = examples.start_conversation()
    cancel = threading.Event()
    cancel.set()
    assert examples.ask(MUSTER, conversation=conversation, cancel=cancel).finish_reason == "cancelled"
    assert examples.conversations.turns(conversation) == []


def test_every_method_has_a_twin_under_asyncio(examples: Assistant):
    async def walk() -> None:
        answer = await examples.ask_async(MUSTER)
        result = await examples.search_async(MUSTER, top_k=2)
        events = [event async for event in examples.stream_async(MUSTER)]
        assert "whale jaw" in answer.text
        assert len(result.passages) == 2
        assert isinstance(events[-1], AnswerReady)
        assert events[-1].answer.text == answer.text

    asyncio.run(walk())


def test_leaving_an_asynchronous_stream_early_stops_it(examples: Assistant):
    async def leave() -> threading.Event:
        cancel = threading.Event()
        async for event in examples.stream_async(MUSTER, cancel=cancel):
            if isinstance(event, TextDelta):
                break
        return cancel

    async def walk() -> None:
        cancel = await leave()
        assert await asyncio.to_thread(cancel.wait, 10)

    asyncio.run(walk())


def test_a_missing_language_model_leaves_quotes_and_says_what_is_missing(tmp_path):
    note = tmp_path / "note.txt"
    note.write_text("The spare key hangs behind the blue kayak. The dog is called Bruno.")
    with Assistant.open(tmp_path / "data", overrides={"model.path": str(tmp_path / "nowhere.gguf")}) as assistant:
        assistant.ingest(note)
        answer = assistant.ask("Where does the spare key hang?")
        assert "behind the blue kayak" in answer.text
        assert len(answer.degraded) == 1
        assert "nowhere.gguf" in answer.degraded[0]


def test_a_composing_model_is_streamed_with_checked_markers(tmp_path):
    note = tmp_path / "note.txt"
    note.write_text("The spare key hangs behind the blue kayak. The dog is called Bruno.")
    overrides = {"assistant.answer_style": "compose", "generation.max_tokens": 24}
    with Assistant.open(tmp_path / "data", overrides=overrides) as assistant:
        assistant.ingest(note)
        events = list(assistant.stream("Where does the spare key hang?"))
    answer = events[-1].answer
    assert answer.text
    assert answer.usage.passages_used == 1
    assert 0 < answer.usage.completion_tokens <= 24
    for citation in answer.citations:
        assert citation.quote in note.read_text()


def test_removed_documents_are_not_cited_any_more(tmp_path):
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("The spare key hangs behind the blue kayak.")
    second.write_text("The dog is called Bruno and sleeps in the hall.")
    with Assistant.open(tmp_path / "data") as assistant:
        assistant.ingest([first, second])
        assert assistant.remove("first.txt").source.endswith("first.txt")
        assert [Path(document.source).name for document in assistant.documents()] == ["second.txt"]
        assert assistant.ask("Where does the spare key hang?").abstained


@pytest.fixture
def note(tmp_path) -> Path:
    file = tmp_path / "note.txt"
    file.write_text("The spare key hangs behind the blue kayak. The dog is called Bruno.")
    return file


@pytest.mark.parametrize("style", ["sentence", "compose"])
def test_a_context_too_small_for_the_prompt_leaves_quotes(tmp_path, note, style):
    overrides = {"model.context_tokens": 128, "generation.max_tokens": 120, "assistant.answer_style": style}
    with Assistant.open(tmp_path / "data", overrides=overrides) as assistant:
        assistant.ingest(note)
        conversation = assistant.start_conversation()
        answer = assistant.ask("Where does the spare key hang?", conversation=conversation)
        followed = assistant.ask("And what is the dog called there?", conversation=conversation)
    assert "behind the blue kayak" in answer.text
    assert answer.citations
    assert answer.degraded
    assert answer.conversation == conversation
    assert "Bruno" in followed.text


def test_a_model_folder_of_nonsense_leaves_quotes_and_is_named(tmp_path, note):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("[]")
    with Assistant.open(tmp_path / "data", overrides={"model.path": str(folder)}) as assistant:
        assistant.ingest(note)
        for _ in range(2):
            answer = assistant.ask("Where does the spare key hang?")
            assert "behind the blue kayak" in answer.text
            assert len(answer.degraded) == 1


def test_a_failed_opening_lets_go_of_the_data_folder(tmp_path, note):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "conversations.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(AssistantError, match=r"conversations\.sqlite3"):
        Assistant.open(tmp_path / "data")
    (tmp_path / "data" / "conversations.sqlite3").unlink()
    with Assistant.open(tmp_path / "data") as assistant:
        assert assistant.documents() == []


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), KeyboardInterrupt()])
def test_an_opening_that_cannot_watch_lets_go_of_the_data_folder(tmp_path, monkeypatch, error):
    def start(_: FileWatcher) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(FileWatcher, "start", start)
        with pytest.raises(type(error)) as raised:
            Assistant.open(tmp_path / "data", watch=True)
    with Assistant.open(tmp_path / "data") as assistant:  # while the traceback still holds the first one
        assert raised.value is error
        assert assistant.documents() == []


def test_a_request_under_way_when_the_assistant_is_closed_ends_and_is_not_kept(tmp_path, note):
    with Assistant.open(tmp_path / "data", overrides={"model.path": str(tmp_path / "nowhere.gguf")}) as assistant:
        assistant.ingest(note)
        conversation = assistant.start_conversation()
        begun, waiting = (
            assistant.stream("Where does the spare key hang?", conversation=conversation) for _ in range(2)
        )
        assert isinstance(next(begun), Retrieved)
    *_, last = begun
    assert isinstance(last, AnswerReady)
    assert "behind the blue kayak" in last.answer.text
    with pytest.raises(AssistantError):
        next(waiting)
    with Assistant.open(tmp_path / "data") as assistant:
        assert assistant.conversations.turns(conversation) == []


def test_an_asynchronous_stream_that_ends_by_itself_cancels_nothing(examples: Assistant):
    cancel = threading.Event()

    async def walk() -> None:
        assert [event async for event in examples.stream_async(MUSTER, cancel=cancel)]

    asyncio.run(walk())
    assert not cancel.is_set()


def test_cancelling_a_task_stops_the_work_behind_it(examples: Assistant, tmp_path, note):
    cancel = threading.Event()

    async def walk() -> None:
        task = asyncio.create_task(examples.ask_async(MUSTER, cancel=cancel))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(walk())
    assert cancel.is_set()


def test_documents_are_ingested_under_asyncio(tmp_path, note):
    with Assistant.open(tmp_path / "data") as assistant:
        report = asyncio.run(assistant.ingest_async(note))
    assert report.count("added") == 1
