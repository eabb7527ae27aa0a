"""What the bundled adapters were trained on shares no passage with what they are measured on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from capibara.assistant.scoring import normalised

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data"
TRAINED_ON = "squad/train"


def passages(name: str) -> set[str]:
    path = DATA / name / "passages.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"the evaluation data is not here: {path}")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return {normalised(json.loads(line)["text"]) for line in lines}


@pytest.mark.parametrize("measured_on", ["squad/dev", "squad/dev-v2", "xquad-en", "xquad-es"])
def test_no_training_passage_is_a_passage_of_an_evaluation(measured_on):
    trained, measured = passages(TRAINED_ON), passages(measured_on)
    assert len(trained) > 18_000
    assert len(measured) > 200
    assert not trained & measured


@pytest.mark.parametrize("measured_on", ["squad/dev", "squad/dev-v2", "xquad-en", "xquad-es"])
def test_hardly_a_passage_begins_like_one_of_an_evaluation(measured_on):
    """SQuAD itself has two: articles on the immune system and on immunology share two paragraphs, edited."""
    beginnings = {text[:120] for text in passages(TRAINED_ON) if len(text) >= 120}
    assert len([text for text in passages(measured_on) if text[:120] in beginnings]) <= 2
