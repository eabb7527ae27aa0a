"""Whether two similar texts state the same facts: the lexical guard of semantic deduplication.

An embedding barely moves when one number, name or "not" of a long text changes, yet the fact is another. So beside
the cosine similarity two texts must agree in

- their protected words, in their order: words with a digit or a capital letter, words of scripts without letter case,
  number words, negations and words of
  direction or degree ("before", "open", "most"); a capital at the start of a sentence protects nothing when the other
  text has the word in small letters or it is a function word;
- their other content words, in any order, up to spelling and inflection. In a text of fewer than `SHORT` content
  words one may be replaced, because there the similarity itself tells a synonym from another word; in a longer text
  one in twenty may be added or left out, and none replaced.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

from .stop_words import STOP_WORDS

SHORT = 30
SELF_CONTAINED = 8
"""Content words from which a text means the same under any heading."""

_WORD = re.compile(r"\w+(?:['’.,:/-]\w+)*|[%€$£°<>=±+]", re.UNICODE)
_SENTENCE_START = re.compile(r"(?:^|[.!?…:;\n\"“”«»(\[•*#|-])\s*$")
_ALIKE = 0.75
_REMEMBERED = 1024

_FUNCTION_WORDS = frozenset().union(*STOP_WORDS.values())
_PROTECTED_TEXT = """
no not nor none never neither nobody nothing nowhere without cannot hardly barely rarely seldom except unless only
unlike against
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion half quarter
double triple first second third fourth fifth sixth seventh eighth ninth tenth last
before after above below over under more less most least fewer all some any each both either always sometimes often
open opened closed off down left right north south east west true false yes enabled disabled increase increased
increases decrease decreased decreases rise rose risen fall fell fallen win won lose lost must optional
monday tuesday wednesday thursday friday saturday sunday january february march april june july august september
october november december
ni nunca jamás nadie nada ningún ninguna ninguno sin tampoco salvo excepto solo sólo apenas
cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince veinte treinta cuarenta
cincuenta sesenta setenta ochenta noventa cien ciento mil millón millones medio media doble primero primera segundo
segunda tercero tercera último última
antes después sobre bajo más menos mayor menor todo todos toda todas algunos algunas siempre abierto abierta cerrado
cerrada izquierda derecha norte sur oeste verdadero falso sí aumenta disminuye sube baja gana pierde
lunes martes miércoles jueves viernes sábado domingo enero febrero marzo abril mayo junio julio agosto septiembre
octubre noviembre diciembre
"""
_PROTECTED = frozenset(_PROTECTED_TEXT.split())
_CONTRACTED_NOT = re.compile(r"n['’]t$")


@dataclass(frozen=True, slots=True)
class _Facts:
    """The words of a text that count. ``certain`` are those protected whatever the other text is, in their order;
    ``words`` are all, each with True (protected), False (other content) or None: a capital at a sentence's start."""

    certain: tuple[str, ...]
    words: tuple[tuple[str, bool | None], ...]
    lower: frozenset[str]


def say_the_same(a: str, b: str) -> bool:
    """Whether texts that an embedding finds alike differ in no number, name, negation or other content."""
    facts_a, facts_b = _facts(a), _facts(b)
    if facts_a.certain != facts_b.certain:
        return False
    protected_a, content_a = _split(facts_a, facts_b.lower)
    protected_b, content_b = _split(facts_b, facts_a.lower)
    return protected_a == protected_b and _alike(content_a, content_b)


def is_self_contained(text: str) -> bool:
    """Whether a text is long enough to mean the same under any heading."""
    return len(_facts(text).words) >= SELF_CONTAINED


@lru_cache(maxsize=_REMEMBERED)
def _facts(text: str) -> _Facts:
    text = unicodedata.normalize("NFKC", text)
    words = [kind for match in _WORD.finditer(text) if (kind := _kind(text, match)) is not None]
    certain = tuple(word for word, protected in words if protected)
    return _Facts(certain, tuple(words), frozenset(word for word, protected in words if protected is False))


def _kind(text: str, match: re.Match[str]) -> tuple[str, bool | None] | None:
    """A word in small letters and whether it is protected; None for a function word."""
    word = match.group()
    folded = word.lower()
    if folded == "cannot" or _CONTRACTED_NOT.search(folded):
        return "not", True
    if folded in _PROTECTED or not word.isalpha() or folded == word.upper():
        return folded, True
    if folded in _FUNCTION_WORDS:
        return None
    if word == folded:
        return folded, False
    begins = _SENTENCE_START.search(text, max(0, match.start() - 8), match.start())
    return folded, None if begins else True


def _split(facts: _Facts, lower_elsewhere: frozenset[str]) -> tuple[list[str], Counter[str]]:
    """The protected words in order, and the other content words counted."""
    protected: list[str] = []
    content: Counter[str] = Counter()
    for word, is_protected in facts.words:
        if is_protected or (is_protected is None and word not in lower_elsewhere):
            protected.append(word)
        else:
            content[word] += 1
    return protected, content


def _alike(a: Counter[str], b: Counter[str]) -> bool:
    only_a, only_b = list((a - b).elements()), list((b - a).elements())
    for word in list(only_a):
        match = next((other for other in only_b if _same_word(word, other)), None)
        if match is not None:
            only_a.remove(word)
            only_b.remove(match)
    size = max(a.total(), b.total())
    if only_a and only_b:
        return size < SHORT and len(only_a) == len(only_b) == 1
    return len(only_a) + len(only_b) <= size // 20


def _same_word(a: str, b: str) -> bool:
    """Whether two words differ in spelling or inflection only."""
    return len(a) > 3 and len(b) > 3 and a[0] == b[0] and SequenceMatcher(None, a, b).ratio() >= _ALIKE
