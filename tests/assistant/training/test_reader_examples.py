"""What the reader is trained on."""

from __future__ import annotations

import pytest

from capibara.assistant.dataset import GivenPassage, Question
from capibara.assistant.errors import AssistantError
from capibara.assistant.reading import INSTRUCTION, NOT_STATED, parse_reading
from capibara.assistant.training.reader_examples import Mixture, Tally, reader_examples

from .harbours import PASSAGES, QUESTIONS

GIVEN = [GivenPassage(row["id"], row["text"]) for row in PASSAGES]
ASKED = [Question(row["id"], row["question"], row["passage_id"], tuple(row["answers"])) for row in QUESTIONS]
FOUND = {question.id: [passage.id for passage in GIVEN] for question in ASKED}


def made(round_: int = 0, seed: int = 0, questions=ASKED, **options):
    return list(reader_examples(GIVEN, questions, FOUND, round_=round_, seed=seed, **options))


def shown(example) -> list[str]:
    """The passages of a prompt, in order."""
    blocks = example.messages[1]["content"].split("\n\n")[:-1]
    assert [block.split(" ")[0] for block in blocks] == [f"[{number + 1}]" for number in range(len(blocks))]
    return [block.split(" ", 1)[1] for block in blocks]


def test_the_answer_names_the_place_of_the_passage_that_holds_it():
    for question, example in zip(ASKED, made(mixture=Mixture(missing=0.0)), strict=True):
        reading = parse_reading(example.answer)
        assert reading is not None
        assert reading.phrase == question.answers[0]
        assert reading.phrase in shown(example)[reading.number - 1]
        assert example.messages[0] == {"role": "system", "content": INSTRUCTION}


def test_without_the_gold_passage_no_passage_holds_the_answer_and_it_is_not_stated():
    for question, example in zip(ASKED, made(mixture=Mixture(missing=1.0)), strict=True):
        assert example.answer == NOT_STATED
        assert shown(example)
        assert not any(question.answers[0] in text for text in shown(example))


def test_a_question_without_an_answer_is_not_stated():
    unanswerable = [Question("q0a", "Who blew up the harbour of Arden?", "p0", ())]
    (example,) = made(questions=unanswerable, mixture=Mixture(missing=0.0))
    assert example.answer == NOT_STATED


def test_the_gold_passage_stands_at_every_place():
    examples = [one for round_ in range(8) for one in made(round_, mixture=Mixture((0, 0, 1), missing=0, in_order=0))]
    numbers = [reading.number for one in examples if (reading := parse_reading(one.answer))]
    assert {1, 2, 3} == set(numbers)
    assert max(numbers.count(place) for place in (1, 2, 3)) < len(numbers) / 2


def test_one_seed_gives_the_same_examples_and_another_round_gives_others():
    assert made(1, seed=3) == made(1, seed=3)
    assert made(1, seed=3) != made(2, seed=3)
    assert made(1, seed=3) != made(1, seed=4)


def test_spoken_questions_have_small_letters_and_no_mark():
    for question, example in zip(ASKED, made(mixture=Mixture(spoken=1.0)), strict=True):
        assert example.messages[1]["content"].endswith(f"\n\n{question.question.rstrip('?').lower()}")


def test_an_answer_that_is_not_in_its_passage_is_counted_and_left_out():
    astray = [*ASKED[:2], Question("q0b", "What?", "p0", ("amber",))]
    tally = Tally()
    assert len(made(questions=astray, tally=tally)) == 2
    assert tally.unfit == ["q0b"]
    assert tally.present + tally.missing == 2


def test_an_answer_that_is_not_in_its_passage_is_refused_where_that_is_asked_for():
    with pytest.raises(AssistantError, match="question 'q0b': 'amber' is not in its passage"):
        made(questions=[Question("q0b", "What?", "p0", ("amber",))], unfit="refuse")


def test_a_question_of_an_unknown_passage_is_refused():
    with pytest.raises(AssistantError, match="names passage 'p99', which is not there"):
        made(questions=[Question("q0a", "What?", "p99", ("salt",))])
