"""Text becomes the terms that BM25 compares, whatever its language."""

from __future__ import annotations

import pytest

from capibara.rag.analysis import analyze, analyze_query, detect_language


@pytest.mark.parametrize(
    ("text", "language", "terms"),
    [
        ("", "en", []),
        ("the of and", "en", []),
        ("The Boats' engines, running!", "en", ["boat", "engin", "run"]),
        ("snake_case x-ray 3.14", "en", ["snake", "case", "x", "ray", "3", "14", "3.14"]),
        ("Las INFORMACIONES", "es", ["inform"]),
        ("Zürich's Größe", None, ["zurich", "s", "grosse"]),
        ("cafe\u0301 CAFÉ", None, ["cafe", "cafe"]),
        ("東京は abc", None, ["東京", "京は", "abc"]),
        ("水", None, ["水"]),
        ("ﬁne Ⅳ", None, ["fine", "iv"]),
    ],
)
def test_terms_of_a_text(text: str, language: str | None, terms: list[str]) -> None:
    assert analyze(text, language) == terms


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("en", "connected", "connection"),
        ("es", "bibliotecas", "biblioteca"),
        ("fr", "continuellement", "continuelle"),
        ("de", "Häusern", "Häuser"),
        ("it", "libri", "libro"),
        ("pt", "meninas", "menina"),
        ("nl", "boeken", "boek"),
    ],
)
def test_forms_of_one_word_share_a_term(language: str, one: str, other: str) -> None:
    assert analyze(one, language) == analyze(other, language) != []


def test_a_query_has_every_languages_form_of_a_word_once() -> None:
    assert analyze_query("connections", ["en"]) == analyze("connections", "en")
    both = analyze_query("bibliotecas connections", ["en", "es"])
    assert set(analyze("bibliotecas", "es")) <= set(both)
    assert set(analyze("connections", "en")) <= set(both)
    assert analyze_query("ferry", ["en", "es"]).count("ferri") <= 1


@pytest.mark.parametrize("languages", [[], ["xx"]])
def test_a_query_without_a_known_language_is_folded(languages: list[str]) -> None:
    assert analyze_query("Los Ríos", languages) == ["los", "rios"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Where was the first library built?", "en"),
        ("¿Cuándo se construyó la primera biblioteca?", "es"),
        ("Quand la première bibliothèque a-t-elle été construite ?", "fr"),
        ("Wann wurde die erste Bibliothek gebaut?", "de"),
        ("Quando è stata costruita la prima biblioteca?", "it"),
        ("Quando foi construída a primeira biblioteca em São Paulo?", "pt"),
        ("Wanneer werd de eerste bibliotheek gebouwd?", "nl"),
        ("", None),
        ("42 17 3.5", None),
        ("東京は日本の首都", None),
    ],
)
def test_the_language_is_told_by_its_stop_words(text: str, language: str | None) -> None:
    assert detect_language(text) == language


def test_a_query_keeps_no_stop_word_of_its_own_language_in_the_forms_of_another():
    question = "What is the name of the ferry that leaves in the morning?"
    forms = analyze_query(question, ["de", "en"])
    assert set(forms) >= set(analyze("name ferry leaves morning", "en"))
    assert not {"what", "the", "of", "that", "is"} & set(forms)


@pytest.mark.parametrize(
    ("text", "whole"),
    [("Satz 5.5 gilt", "5.5"), ("21,015,324 passages", "21,015,324"), ("steel SNB22-3.", "snb22-3"), ("K-7", "k-7")],
)
def test_numbers_and_codes_are_terms_as_a_whole_too(text, whole):
    assert whole in analyze(text, "en")
    assert whole in analyze_query(text, ["en", "de"])


def test_joined_words_without_digits_give_their_parts_alone():
    assert analyze("well-known and/or", "en") == analyze("well known and or", "en")
