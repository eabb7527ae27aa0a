"""Turns text into BM25 terms: words, folded, without stop words, stemmed by language; and tells the language.

A word is a run of word characters. Numbers and codes with inner separators ("5.5", "21,015,324", "SNB22-3") also give
one term as a whole, because their parts alone are common. Runs of Chinese, Japanese or Thai, written without spaces,
become character bigrams.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING

from .stop_words import STOP_WORDS

if TYPE_CHECKING:
    from collections.abc import Callable

_WORD = re.compile(r"[^\W_]+")
_COMPOUND = re.compile(r"(?<![^\W_])[^\W_]+(?:[-.,:/][^\W_]+)+")  # looking behind, it tries a word once, not per letter
_SPACELESS = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_STEMMERS = {
    "en": "english",
    "es": "spanish",
    "fr": "french",
    "de": "german",
    "it": "italian",
    "pt": "portuguese",
    "nl": "dutch",
}
_DETECTION_WORDS = 400
_REMEMBERED = 65536


def analyze(text: str, language: str | None) -> list[str]:
    """The terms of ``text``: words in order, then codes.

    ``language`` is an ISO 639-1 code; words of other languages than those with a stemmer are folded, not stemmed.
    """
    code = language if language in _STEMMERS else ""
    return [term for word in _words(text) if (term := _term(word, code))]


def analyze_query(text: str, languages: Collection[str]) -> list[str]:
    """The terms of a query against passages in ``languages``: every language's form of each word, once per word.

    Stop words of the query's own language are dropped from all forms: in passages of another language they would be
    rare words, and outweigh everything else.
    """
    codes = sorted({code for code in languages if code in _STEMMERS}) or [""]
    own = detect_language(text)
    dropped = frozenset().union(*(STOP_WORDS.get(code, ()) for code in ([own] if own and codes[0] else codes)))
    terms: list[str] = []
    for word in _words(text):
        if word not in dropped:
            terms.extend(dict.fromkeys(term for code in codes if (term := _term(word, code))))
    return terms


def detect_language(text: str) -> str | None:
    """The language most of whose stop words occur in the first some hundred words; None when too few do."""
    words = [match.group().lower() for match in _WORD.finditer(text[: _DETECTION_WORDS * 12])][:_DETECTION_WORDS]
    hits = {code: sum(map(stops.__contains__, words)) for code, stops in STOP_WORDS.items()}
    best = max(hits, key=lambda code: hits[code])
    others = max(count for code, count in hits.items() if code != best)
    return best if hits[best] >= max(1, 0.08 * len(words)) and hits[best] > others else None


def _words(text: str) -> list[str]:
    words: list[str] = []
    composed = unicodedata.normalize("NFC", text)
    for match in _WORD.finditer(composed):
        word = match.group().lower()
        if word.isascii() or not _SPACELESS.search(word):
            words.append(word)
        else:
            words.extend(_split_spaceless(word))
    for match in _COMPOUND.finditer(composed):
        if any(character.isdigit() for character in match.group()):
            words.append(match.group().lower())
    return words


def _split_spaceless(word: str) -> list[str]:
    pieces: list[str] = []
    end = 0
    for run in _SPACELESS.finditer(word):
        pieces.append(word[end : run.start()])
        text = run.group()
        pieces.extend(text[i : i + 2] for i in range(max(len(text) - 1, 1)))
        end = run.end()
    pieces.append(word[end:])
    return [piece for piece in pieces if piece]


@lru_cache(maxsize=_REMEMBERED)
def _term(word: str, code: str) -> str:
    """The term of one lower-case word; empty for a stop word."""
    if code and word in STOP_WORDS[code]:
        return ""
    return _folded(_stemmer(code)(word) if code else word)


@lru_cache(maxsize=32)
def _stemmer(code: str) -> Callable[[str], str]:
    import snowballstemmer

    return snowballstemmer.stemmer(_STEMMERS[code]).stemWord


def _folded(word: str) -> str:
    if word.isascii():
        return word
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))
