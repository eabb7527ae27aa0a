"""Which passages two data sets share, and that these are not trained on."""

from __future__ import annotations

import pytest

from capibara.assistant.dataset import GivenPassage
from capibara.assistant.training.overlap import shared_passages

TEXT = " ".join(f"word{number}" for number in range(30))


def passage(text: str, name: str = "other") -> GivenPassage:
    return GivenPassage(name, text)


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        (TEXT, True),
        (TEXT.upper().replace(" ", ", "), True),
        ("Before it. " + " ".join(TEXT.split()[4:17]) + " and after.", True),
        ("Before it. " + " ".join(TEXT.split()[4:16]) + " and after.", False),
        ("Quite another text that has nothing in common with the first one of all of them here.", False),
        ("", False),
    ],
    ids=["the same", "case and marks", "thirteen words", "twelve words", "another", "empty"],
)
def test_thirteen_words_in_a_row_make_a_shared_passage(text: str, shared: bool) -> None:
    assert shared_passages([passage(TEXT, "mine")], [passage(text)]) == ({"mine"} if shared else set())


def test_a_short_passage_is_shared_as_a_whole() -> None:
    assert shared_passages([passage("The harbour opens at six.", "mine")], [passage("the harbour opens at six")]) == {
        "mine"
    }


def test_a_short_passage_is_shared_where_it_stands_within_a_longer_one() -> None:
    longer = "Every day the harbour opens at six, and closes when the last of the boats that went out has come home."
    short = passage("The harbour opens at six.", "mine")
    assert shared_passages([short, passage(TEXT, "another")], [passage(longer)]) == {"mine"}
    assert shared_passages([passage(longer, "mine")], [passage("The harbour opens at six.")]) == set()


@pytest.mark.parametrize(("count", "shared"), [(13, True), (12, False)])
def test_text_that_parts_no_words_is_compared_by_characters(count: int, shared: bool) -> None:
    mine = "港口早上六点开门，晚上九点关门，星期天不开，船长住在码头旁边。"
    theirs = (
        "另外一段："
        + "".join(one for one in mine if one not in "，。")[:count]
        + "以及别的事情，很多别的事情都在这里说明。"
    )
    assert shared_passages([passage(mine, "mine")], [passage(theirs)]) == ({"mine"} if shared else set())


def test_nothing_is_shared_with_nothing() -> None:
    assert shared_passages([passage(TEXT)], []) == set()
    assert shared_passages([], [passage(TEXT)]) == set()
