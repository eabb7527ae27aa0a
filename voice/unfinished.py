"""Whether a sentence sounds as if more were coming: how it ends, by language."""

from __future__ import annotations

from .hypothesis import normal

_OPEN = {
    "en": "a an the and or but because if while whose than my your our their um uh er erm",
    "es": "un una unos unas el la los las y e o u pero porque si que de del al en con por para sin mi tu su mis tus "
    "sus eh em",
}
"""Words that hardly ever end a sentence."""

_HANGING = {"en": "of to in on at by for from with about into as which who"}
"""Words that end a question, but hardly anything else."""

_QUESTIONS = {"en": "what who whom whose which where when why how is are was were do does did can could will would"}


def sounds_unfinished(text: str, language: str) -> bool:
    """True when ``text`` ends in a comma, a dash, an ellipsis, or a word that asks for another.

    A full stop after such a word is not believed: models that punctuate put one after whatever they heard last.
    Question marks and exclamation marks are.
    """
    text = text.rstrip("\"'”’»)] ")
    if not text or text[-1] in "?!？！":
        return False
    if text.endswith(("...", "…", ",", ";", ":", "-", "–", "—")):
        return True
    words = text.split()
    first, last = normal(words[0]), normal(words[-1])
    if last in _words(_OPEN, language):
        return True
    return last in _words(_HANGING, language) and first not in _words(_QUESTIONS, language)


def _words(table: dict[str, str], language: str) -> list[str]:
    return table.get(language, "").split()
