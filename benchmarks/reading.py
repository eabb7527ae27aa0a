"""How well the reader reads: a gold paragraph alone, and whether it answers or abstains as it should.

    python benchmarks/reading.py gold ../shared/data/squad/dev --sample 500
    python benchmarks/reading.py abstention ../shared/data/squad/dev-v2 --sample 200

``gold`` shows the reader the one paragraph that holds the answer: the one that ``--reader`` names, the language model
with and without the adapter (``--plain``).
``abstention`` takes the paragraphs of unanswerable questions out of the collection and asks through the whole
assistant: those questions, and as many answerable ones whose paragraphs are still there.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from capibara.assistant.dataset import Question, indexed, read_passages, read_questions
from capibara.assistant.reading import ABSTAIN_BIAS, NOT_STATED, READER, parse_reading, reader_messages
from capibara.assistant.scoring import contains, exact_match, token_f1
from capibara.config.schema import AssistantSettings, ModelSettings, RagSettings, Settings
from capibara.model import AdapterSource, open_model
from capibara.model.protocol import Sampling
from capibara.rag.extractive_reader import open_extractor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("gold", "abstention"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sample", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", default="extractive", choices=("extractive", "generative"))
    parser.add_argument("--plain", action="store_true", help="without the adapter")
    parser.add_argument("--adapter", type=Path, help="another adapter's folder than the bundled one")
    bias = AssistantSettings().abstain_bias
    parser.add_argument("--bias", type=float, default=bias, help="as assistant.abstain_bias (default: %(default)s)")
    parser.add_argument("--style", default="short", choices=("short", "sentence", "quote"))
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the first N wrong answers")
    given = parser.parse_args()
    measures = gold(given) if given.what == "gold" else abstention(given)
    print(json.dumps(measures, indent=2))


def gold(given: argparse.Namespace) -> dict[str, float]:
    passages = {passage.id: passage.text for passage in read_passages(given.folder)}
    answerable = [question for question in read_questions(given.folder) if question.answers]
    questions = random.Random(given.seed).sample(answerable, min(given.sample, len(answerable)))
    read = extracted(given) if given.reader == "extractive" else generated(given)
    exact, f1, held, refused, seconds = [], [], [], [], []
    for number, question in enumerate(questions, start=1):
        began = time.perf_counter()
        phrase = read(question.question, passages[question.passage_id])
        seconds.append(time.perf_counter() - began)
        exact.append(exact_match(phrase, question.answers))
        f1.append(token_f1(phrase, question.answers))
        held.append(contains(phrase, question.answers))
        refused.append(not phrase)
        if not held[-1] and given.show > number - sum(held):
            print(f"{question.question}\n  said {phrase!r}, meant {question.answers}", file=sys.stderr)
        progress(number, len(questions), f"exact {statistics.mean(exact):.3f} F1 {statistics.mean(f1):.3f}")
    return {
        "questions": len(questions),
        "exact_match": round(statistics.mean(exact), 4),
        "f1": round(statistics.mean(f1), 4),
        "contains": round(statistics.mean(held), 4),
        "refused": round(statistics.mean(refused), 4),
        "median_seconds": round(statistics.median(seconds), 2),
    }


def extracted(given: argparse.Namespace) -> Callable[[str, str], str]:
    """The words that the extractive reader points at in a paragraph; nothing where it says that none answer."""
    extractor = open_extractor(RagSettings(extractor=str(given.adapter or "auto")))
    if extractor is None:
        sys.exit("there is no extractive reader's adapter: name one with --adapter")

    def read(question: str, text: str) -> str:
        (span,) = extractor.read(question, [text])
        return text[span.start : span.end] if span is not None and span.score >= given.bias else ""

    return read


def generated(given: argparse.Namespace) -> Callable[[str, str], str]:
    """The phrase that the language model writes of a paragraph; nothing where it says that it is not stated."""
    adapters = {READER: AdapterSource(given.adapter)} if given.adapter else None
    model = open_model(ModelSettings(), adapters=adapters)
    adapter = None if given.plain else READER
    sampling = Sampling(max_tokens=48, opening_bias=None if given.plain else (NOT_STATED, ABSTAIN_BIAS + given.bias))

    def read(question: str, text: str) -> str:
        written = model.generate(reader_messages(question, [text]), sampling, adapter=adapter).text.strip()
        reading = parse_reading(written)
        return reading.phrase if reading else "" if written == NOT_STATED else written

    return read


def abstention(given: argparse.Namespace) -> dict[str, float]:
    draw = random.Random(given.seed)
    questions = read_questions(given.folder)
    unanswerable = draw.sample([question for question in questions if not question.answers], given.sample)
    gone = {question.passage_id for question in unanswerable}
    kept = [passage for passage in read_passages(given.folder) if passage.id not in gone]
    left = [question for question in questions if question.answers and question.passage_id not in gone]
    answerable = draw.sample(left, min(given.sample, len(left)))
    settings = Settings.model_validate(
        {
            "assistant": {"answer_style": given.style, "abstain_bias": given.bias},
            **reader_named(given),
        }
    )
    with indexed(kept, settings, lambda *_: None) as assistant:
        assistant.warm_up()

        def refused(asked: list[Question]) -> list[bool]:
            given_up = []
            for number, question in enumerate(asked, start=1):
                given_up.append(assistant.ask(question.question).abstained)
                progress(number, len(asked), f"abstained {statistics.mean(given_up):.3f}")
            return given_up

        return {
            "passages": len(kept),
            "unanswerable": len(unanswerable),
            "abstained": round(statistics.mean(refused(unanswerable)), 4),
            "answerable": len(answerable),
            "refused": round(statistics.mean(refused(answerable)), 4),
        }


def reader_named(given: argparse.Namespace) -> dict[str, dict[str, str]]:
    if given.reader == "extractive":
        return {"rag": {"extractor": str(given.adapter or "auto")}}
    return {"rag": {"extractor": "none"}, "model": {"reader": str(given.adapter or "auto")}}


def progress(done: int, total: int, figures: str) -> None:
    if done % 25 == 0 or done == total:
        print(f"{done} of {total}: {figures}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
