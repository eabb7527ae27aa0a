"""Data sets made of what teachers agree on: by scripted teachers to the letter, and by the bundled model."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from capibara.assistant.cli import main
from capibara.assistant.dataset import GivenPassage, read_questions
from capibara.assistant.errors import AssistantError
from capibara.assistant.reading import NOT_STATED, READER
from capibara.assistant.training.distil import DistilPlan, Reply, Teacher, distil, in_its_passage, understood
from capibara.assistant.training.reader_examples import Tally, reader_examples
from capibara.assistant.training.retrieved import RETRIEVED, write_retrieved
from capibara.assistant.training.source import training_data
from capibara.config.schema import Settings
from capibara.model import Generation, Message, Sampling, Usage, open_model

from .harbours import PASSAGES, QUESTIONS

SHOWN = [GivenPassage(row["id"], row["text"]) for row in PASSAGES[:3]]
OTHERS = {question["id"]: ["p7", "p6", "p5", "p4"] for question in QUESTIONS}
"""What was retrieved; only the last four questions' passages are among it."""


class Scripted:
    """A `LanguageModel` that says what its script holds for the last line of the prompt, else that it is not stated."""

    name, adapters, context_tokens = "scripted", (), 4096

    def __init__(self, script: dict[str, str], after: Callable[[], object] = lambda: None) -> None:
        self._script, self._after = script, after

    def encode(self, text: str) -> list[int]:
        return [0] * len(text.split())

    def render(self, messages: Sequence[Message]) -> str:
        return "\n".join(message["content"] for message in messages)

    def generate(self, prompt, sampling, cancel=None, adapter=None) -> Generation:
        said = self._script.get(prompt[-1]["content"].rpartition("\n")[2], NOT_STATED)
        self._after()
        return Generation(said, "stop", Usage(1, 1), 0.0, 0.0)


def teachers(*scripts: dict[str, str]) -> list[Teacher]:
    return [Teacher(Scripted(script), Sampling()) for script in scripts]


@pytest.fixture
def data(data_set) -> Path:
    """The first two questions, and what was retrieved for all."""
    folder = data_set(questions=QUESTIONS[:2])
    write_retrieved(folder / RETRIEVED, OTHERS)
    return folder


BUILT, RICH = (row["question"] for row in QUESTIONS[:2])  # of Arden, p0: it is shown third, after p7 and p6


def rows(folder: Path) -> list[dict]:
    with gzip.open(folder / "questions.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_what_most_teachers_say_becomes_the_answer_with_its_weight(data, tmp_path):
    made = distil(
        data,
        tmp_path / "out",
        Settings(),
        teachers(
            {BUILT: "1801 [3]", RICH: "Copper [3]"},  # cited
            {BUILT: "1801 [1]", RICH: "copper"},  # in another passage than the one named, or in none that is named: ½
            {BUILT: "built in 1801 [3]"},  # F1 of 1801 and built in 1801: 2 · 1 / (1 + 3) = ½
        ),
    )
    # Agreement (1 + ½) / 2 = ¾ twice, and ½; critics 1, ½, 1: ¾, ⅜, ½ of 1⅝.
    # "Copper" and "copper": ½ and ½ · ½ (the third says that it is not stated, and agrees with nobody).
    assert rows(tmp_path / "out") == [
        {"id": "q0a", "question": BUILT, "weight": round(9 / 13, 6), "passage_id": "p0", "answers": ["1801"]},
        {"id": "q0b", "question": RICH, "weight": 1.0, "passage_id": "p0", "answers": ["copper"]},
    ]
    assert (made.asked, made.kept, made.not_stated, made.cancelled) == (2, 2, 0, False)


def test_what_is_made_can_be_trained_on_without_an_index(data, tmp_path):
    out = tmp_path / "out"
    distil(data, out, Settings(), teachers({BUILT: "1801 [3]", RICH: "copper [3]"}))
    made = training_data(out, Settings(), lambda *_: None, held_out=0)
    assert [question.answers for question in made.training] == [("1801",), ("copper",)]
    tally = Tally()
    assert len(list(reader_examples(made.passages, made.training, made.retrieved, round_=0, seed=0, tally=tally))) == 2
    assert tally.unfit == []
    assert dict(made.retrieved) == {"q0a": OTHERS["q0a"], "q0b": OTHERS["q0b"]}


def test_an_answer_names_the_passage_it_was_taken_from(data, tmp_path):
    distil(data, tmp_path / "out", Settings(), teachers({RICH: "silk [1]", BUILT: "1801 [3]"}))
    assert [(row["passage_id"], row["answers"]) for row in rows(tmp_path / "out")] == [
        ("p0", ["1801"]),
        ("p7", ["silk"]),
    ]


def test_teachers_can_agree_that_nothing_is_stated(data, tmp_path):
    made = distil(data, tmp_path / "out", Settings(), teachers({}, {}, {BUILT: "1801 [3]"}))
    assert [row["answers"] for row in rows(tmp_path / "out")] == [[], []]
    assert made.not_stated == 2


@pytest.mark.parametrize(
    ("scripts", "least", "why"),
    [
        (({RICH: "copper [3]"}, {RICH: "tin [3]"}), 0.5, "undecided"),
        (({RICH: "copper [3]"}, {RICH: "on copper [3]"}), 0.6, "divided"),
    ],
)
def test_questions_without_a_good_consensus_are_left_out_and_counted(data, tmp_path, scripts, least, why):
    scripts = [{BUILT: "1801 [3]", **script} for script in scripts]
    made = distil(data, tmp_path / "out", Settings(), teachers(*scripts), DistilPlan(least_agreement=least))
    assert [row["id"] for row in rows(tmp_path / "out")] == ["q0a"]
    assert (made.kept, getattr(made, why)) == (1, 1)


def test_an_answer_that_no_passage_holds_to_the_letter_is_left_out_whatever_critics_say(data, tmp_path):
    script = {BUILT: "1801 [3]", RICH: "gold [3]"}
    made = distil(data, tmp_path / "out", Settings(), teachers(script), critics=[lambda *_: 1.0])
    assert (made.kept, made.unplaced) == (1, 1)


def test_a_prompt_that_a_teacher_cannot_hold_is_counted(data, tmp_path):
    small = Scripted({BUILT: "1801 [3]", RICH: "copper [3]"})
    room = len(small.encode(f"{PASSAGES[7]['text']} {PASSAGES[6]['text']} {PASSAGES[0]['text']}"))
    small.context_tokens = room + 10
    with pytest.raises(AssistantError, match=r"no answer of the teachers can be kept \(2 too long, 2 asked\)"):
        distil(data, tmp_path / "out", Settings(), [Teacher(small, Sampling())])
    assert not (tmp_path / "out").exists()


def test_stopping_keeps_what_was_decided_before(data, tmp_path):
    cancel, asked = threading.Event(), []

    def after() -> None:
        asked.append(1)
        if len(asked) == 2:
            cancel.set()

    model = Scripted({BUILT: "1801 [3]", RICH: "copper [3]"}, after)
    made = distil(data, tmp_path / "out", Settings(), [Teacher(model, Sampling())], cancel=cancel)
    assert (made.asked, made.cancelled) == (1, True)
    assert [row["id"] for row in rows(tmp_path / "out")] == ["q0a"]


def test_stopping_before_anything_is_asked_is_told(data_set, tmp_path, monkeypatch):
    monkeypatch.setattr("capibara.assistant.dataset.cache_dir", lambda: tmp_path)
    cancel = threading.Event()
    cancel.set()
    made = distil(data_set(), tmp_path / "out", Settings(), teachers({}), cancel=cancel)
    assert (made.asked, made.cancelled) == (0, True)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_a_data_set_is_left_alone(data):
    before = (data / "questions.jsonl.gz").read_bytes()
    with pytest.raises(AssistantError, match="holds a data set already"):
        distil(data, data, Settings(), teachers({}))
    assert (data / "questions.jsonl.gz").read_bytes() == before


def test_without_teachers_or_with_a_plan_that_cannot_be_nothing_is_asked(data, tmp_path):
    with pytest.raises(AssistantError, match="no teacher to ask"):
        distil(data, tmp_path / "out", Settings(), [])
    with pytest.raises(AssistantError, match=r"least agreement is 1\.5"):
        DistilPlan(least_agreement=1.5)


@pytest.mark.parametrize(
    ("said", "reply", "score"),
    [
        ("1801 [1]", Reply("1801", "p0", True), 1.0),
        ("SALT [2]", Reply("salt", "p1", True), 1.0),
        ("salt [1]", Reply("salt", "p1", False), 0.5),
        ("salt", Reply("salt", "p1", False), 0.5),
        ("tin [1]", Reply("tin"), 0.0),
        ("", Reply(""), 0.0),
        ("Not stated.", Reply(NOT_STATED), 1.0),
        ("not stated [1]", Reply(NOT_STATED), 1.0),
    ],
)
def test_what_a_teacher_says_is_held_against_the_passages(said, reply, score):
    assert understood(said, SHOWN) == reply
    assert in_its_passage("?", reply, SHOWN) == score


def test_the_bundled_model_teaches_with_and_without_its_reader(data_set, tmp_path):
    folder, out = data_set(questions=QUESTIONS[:3]), tmp_path / "out"
    write_retrieved(folder / RETRIEVED, OTHERS)
    model = open_model()
    both = [
        Teacher(model, Sampling(24), READER),
        Teacher(model, Sampling(24, temperature=0.7, seed=1), READER),
        Teacher(model, Sampling(24, temperature=0.7, seed=2)),
    ]
    made = distil(folder, out, Settings(), both)
    assert made.asked == 3
    assert made.kept >= 2
    data = training_data(out, Settings(), lambda *_: None, held_out=0)
    truth = {row["id"]: tuple(row["answers"]) for row in QUESTIONS}
    right = [question for question in data.training if question.answers == truth[question.id]]
    assert len(right) >= 2
    assert all(0.5 <= row["weight"] <= 1 for row in rows(out))


def test_the_command_makes_a_data_set_and_tells_what_was_left_out(data_set, tmp_path, capsys):
    folder, out = data_set(questions=QUESTIONS[:2]), tmp_path / "out"
    write_retrieved(folder / RETRIEVED, OTHERS)
    arguments = ["train", "distil", str(folder), "--out", str(out), "--temperature", "0", "--limit", "1", "--json"]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["teachers"], told["result"]["asked"], told["result"]["kept"]) == (1, 1, 1)
    assert len(read_questions(out)) == 1
    assert main(arguments[:-1]) == 1
    assert "holds a data set already" in capsys.readouterr().err
