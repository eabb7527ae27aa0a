"""What the extractive reader is trained on: where answers stand, and questions without any."""

from __future__ import annotations

import re

import numpy as np
import pytest

from capibara.assistant.dataset import GivenPassage, Question
from capibara.assistant.errors import AssistantError
from capibara.assistant.training.artefacts import Origin
from capibara.assistant.training.extractor import ExtractorPlan, _card, _options, answer_spans
from capibara.assistant.training.extractor import _spans as spans_of
from capibara.assistant.training.source import TrainingData
from capibara.model.training.encoder_adapter import AdapterWeights, Head
from capibara.model.training.pair_tokens import PairTokens
from capibara.model.training.progress import TrainingResult
from capibara.model.training.span_batches import TokenSpan
from capibara.rag.models import find_embedding_model

from .harbours import PASSAGES, QUESTIONS

GIVEN = [GivenPassage(row["id"], row["text"]) for row in PASSAGES]
ASKED = [Question(row["id"], row["question"], row["passage_id"], tuple(row["answers"])) for row in QUESTIONS]


def shown(answer: str, text: str, pieces: str = r"\w+|[^\w\s]") -> list[tuple[int, str]]:
    """Where the answer is found, in characters, with the text of its tokens."""
    offsets_T2 = np.array([match.span() for match in re.finditer(pieces, text)])
    places = [(offsets_T2[span.first, 0], offsets_T2[span.last, 1]) for span in answer_spans(answer, text, offsets_T2)]
    return [(int(begin), text[begin:end]) for begin, end in places]


@pytest.mark.parametrize(
    ("answer", "text", "places"),
    [
        ("5", "3.5 percent of 5 boats", [15]),
        ("500", "1,500 boats, 500 of them new", [13]),
        ("3", "3.5 percent, 3 boats", [13]),
        ("op", "the co-op sold the op.", [19]),
        ("1914", "in 1914–1918, and 1914.", [3, 18]),
        ("Arden", "Arden's harbour, Arden", [0, 17]),
        ("salt", "salt", [0]),
    ],
)
def test_an_answer_within_a_longer_word_or_number_is_none_where_it_stands_alone_elsewhere(answer, text, places):
    assert [place for place, _ in shown(answer, text)] == places
    assert {words for _, words in shown(answer, text)} == {answer}


def test_pieces_of_a_word_are_no_answer_where_the_word_stands_alone_elsewhere():
    assert shown("play", "playing a play", r"play|ing|\w") == [(10, "play")]


@pytest.mark.parametrize(("answer", "text"), [("5", "3.5 percent"), ("五", "在五点"), ("play", "playing")])
def test_an_answer_that_stands_nowhere_alone_is_taken_where_it_stands(answer, text):
    assert len(shown(answer, text, r"play|ing|\w|\.")) == 1


def test_an_answer_cut_by_a_token_or_empty_stands_nowhere():
    assert shown("alt", "salt") == []
    assert shown(" ", "salt and tea") == []


def made(questions: list[Question], unfit="skip"):
    tokens = PairTokens(find_embedding_model("default").transformer)
    found = {question.id: [passage.id for passage in GIVEN] for question in questions}
    data = TrainingData(GIVEN, questions, [], found, "")
    texts = [passage.text for passage in GIVEN]
    return spans_of(data, questions, tokens, tokens.ids(texts), tokens.offsets(texts), unfit)


def test_questions_without_an_answer_stay_with_wrong_passages_alone():
    some = made([ASKED[0], Question("q", "Who blew up the harbour?", "p1", ())], unfit="refuse")
    assert some is not None
    assert (some.unanswered, some.unfit) == (1, [])
    assert (list(some.data.gold), some.data.spans[1]) == ([0, 1], [])
    assert sorted(some.data.wrong[1]) == [0, 2, 3, 4, 5, 6, 7]


def test_answers_that_are_not_in_their_passage_are_left_out_or_refused():
    astray = Question("q0b", "What?", "p0", ("amber",))
    some = made([ASKED[0], astray])
    assert some is not None
    assert some.unfit == ["q0b"]
    assert made([astray]) is None
    with pytest.raises(AssistantError, match="question 'q0b': 'amber' is not in its passage"):
        made([astray], unfit="refuse")


def test_an_update_has_as_many_whole_batches_as_it_holds():
    assert _options(ExtractorPlan(update_tokens=5000, batch_tokens=2048)).accumulate == 2
    assert _options(ExtractorPlan(update_tokens=1000, batch_tokens=2048)).accumulate == 1


def test_the_card_tells_the_tokens_that_an_update_had(tmp_path):
    plan = ExtractorPlan(update_tokens=5000, batch_tokens=2048)
    data, some = TrainingData(GIVEN, ASKED[:1], [], {}, ""), made(ASKED[:1])
    result = TrainingResult(None, AdapterWeights({}, {}, Head(np.zeros(1), np.zeros(1))), 1, "finished", 1, None, ())
    card = _card(plan, _options(plan), data, some, result, "base", Origin("data", "CC0", "command"))
    assert card.facts["tokens per update, at most"] == 4096


def test_every_place_of_an_answer_is_marked():
    some = made([Question("q", "What is built?", "p0", ("harbour",))])
    assert some is not None
    assert some.data.spans == [[TokenSpan(1, 1)]]
