"""Reading a data set: what is wrong is named with its file and line."""

from __future__ import annotations

import pytest

from capibara.assistant.dataset import read_passages, read_questions
from capibara.assistant.errors import AssistantError

from .harbours import PASSAGES, QUESTIONS


def test_a_data_set_is_read_in_order(data_set):
    folder = data_set()
    assert [passage.id for passage in read_passages(folder)] == [row["id"] for row in PASSAGES]
    assert [question.answers for question in read_questions(folder)] == [tuple(row["answers"]) for row in QUESTIONS]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", r"questions\.jsonl\.gz:2: is not a JSON object"),
        ("[]", r"questions\.jsonl\.gz:2: is not a JSON object"),
        ({"id": "q", "question": "?", "passage_id": "p0"}, r"questions\.jsonl\.gz:2: has no 'answers'"),
        ({"id": "q", "question": 7, "passage_id": "p0", "answers": []}, r":2: 'question' is 7, not a str"),
        ({"id": "q", "question": "?", "passage_id": "p0", "answers": "x"}, r":2: 'answers' is 'x', not a list"),
        (
            {"id": "q", "question": "?", "passage_id": "p0", "answers": [{"text": "x"}]},
            r":2: 'answers' holds \{.*not a str",
        ),
    ],
)
def test_a_malformed_line_is_named(data_set, row, said):
    folder = data_set(questions=[QUESTIONS[0], row])
    with pytest.raises(AssistantError, match=said):
        read_questions(folder)


def test_an_empty_file_is_refused(data_set):
    with pytest.raises(AssistantError, match="holds no question"):
        read_questions(data_set(questions=[]))


def test_a_missing_file_is_named_with_what_a_data_set_is(tmp_path):
    with pytest.raises(AssistantError, match=r"passages\.jsonl\.gz is missing: a data set is a folder"):
        read_passages(tmp_path)


def test_a_file_that_is_not_compressed_is_named(tmp_path):
    (tmp_path / "passages.jsonl.gz").write_text("{}")
    with pytest.raises(AssistantError, match="is not gzip'd JSON Lines"):
        read_passages(tmp_path)
