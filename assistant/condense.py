"""Turns a follow-up question into one that can be searched for alone.

The model proposes a rewriting; it is used only if it says nothing that the conversation did not say and keeps
what the question asks for. Otherwise the earlier question's own words are added, which search needs no more than.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Sequence

from ..model.errors import ModelError
from ..model.protocol import LanguageModel, Message, Sampling
from ..rag.analysis import analyze
from .conversations import Turn
from .support import numbers

_LOG = logging.getLogger(__name__)

_REFERRING = {
    "en": "he him his she her hers it its they them their theirs this that these those there then one ones former "
    "latter same other another else also too instead",
    "es": "él ella ello ellos ellas su sus suyo suya lo la le les los las este esta esto estos estas ese esa eso esos "
    "esas aquel aquella aquello allí ahí entonces también mismo misma otro otra otros otras",
}
_OPENING = re.compile(r"^(and|but|or|so|also|what about|how about|y|pero|o|entonces|también|qué hay de)\b", re.I)
_WORD = re.compile(r"\w+")
# With fewer content words than this a question after another one hardly stands alone ("How long?", "Why?").
_FEW_WORDS = 2
_LONGEST = 40

_INSTRUCTION = (
    "Rewrite the last question so that it can be understood without the conversation. Write only the question."
)
_EXAMPLES: tuple[tuple[str, str, str, str], ...] = (
    (
        "Who directs the Larkfield observatory?",
        "Ines Okafor directs the Larkfield observatory.",
        "When did she start?",
        "When did Ines Okafor start as director of the Larkfield observatory?",
    ),
    (
        "How much does a season ticket cost?",
        "A season ticket costs 90 crowns.",
        "And for students?",
        "How much does a season ticket cost for students?",
    ),
)


def refers_back(question: str, language: str | None) -> bool:
    """True when ``question``, asked after another one, seems to need it."""
    words = _WORD.findall(question.casefold())
    referring = set(_REFERRING.get(language or "en", _REFERRING["en"]).split())
    if _OPENING.search(question.strip()) or referring & set(words):
        return True
    return len(set(analyze(question, language or "en"))) < _FEW_WORDS


def condense(
    question: str,
    history: Sequence[Turn],
    model: LanguageModel | None,
    language: str | None,
    cancel: threading.Event | None = None,
    instruction: str = "",
) -> str:
    """The stand-alone form of ``question``, which refers to the last turns of ``history`` (one or more).

    ``instruction`` takes the place of the project's own.
    """
    if model is not None:
        try:
            proposal = _propose(question, history, model, cancel, instruction or _INSTRUCTION)
        except ModelError as error:  # no template, or a context too small for the examples
            _LOG.debug("the follow-up question is not rewritten: %s", error)
            proposal = ""
        if _faithful(proposal, question, history, language or "en"):
            return proposal
    return _with_earlier_words(question, history[-1], language or "en")


def _propose(
    question: str, history: Sequence[Turn], model: LanguageModel, cancel: threading.Event | None, instruction: str
) -> str:
    messages: list[Message] = []
    for asked, answered, follow_up, rewritten in _EXAMPLES:
        messages.append({"role": "user", "content": _task([(asked, answered)], follow_up, instruction)})
        messages.append({"role": "assistant", "content": rewritten})
    earlier = [(turn.standalone_question, turn.answer) for turn in history]
    messages.append({"role": "user", "content": _task(earlier, question, instruction)})
    generation = model.generate(messages, Sampling(max_tokens=48, stop=("\n",)), cancel)
    return generation.text.strip()


def _task(turns: Sequence[tuple[str, str]], question: str, instruction: str) -> str:
    talk = "\n".join(f"Q: {asked}\nA: {answered}" for asked, answered in turns)
    return f"{talk}\nLast question: {question}\n{instruction}"


def _faithful(proposal: str, question: str, history: Sequence[Turn], language: str) -> bool:
    """The proposal adds words of the conversation alone, keeps the question's, and adds at least one."""
    said = " ".join([question, *(f"{turn.standalone_question} {turn.answer}" for turn in history)])
    proposed, asked = set(analyze(proposal, language)), set(analyze(question, language))
    return (
        proposal.endswith("?")
        and len(proposal.split()) <= _LONGEST
        and asked < proposed <= set(analyze(said, language))
        and numbers(proposal) <= numbers(said)
    )


def _with_earlier_words(question: str, turn: Turn, language: str) -> str:
    asked = set(analyze(question, language))
    added = [
        word
        for word in _WORD.findall(turn.standalone_question)
        if (stems := set(analyze(word, language))) and not stems & asked
    ]
    return f"{question} ({' '.join(dict.fromkeys(added))})" if added else question
