"""The assistant's own sentences, in the language of the question."""

from __future__ import annotations

_NOT_FOUND = {
    "en": "I could not find an answer to that in your documents.",
    "es": "No he encontrado una respuesta a eso en tus documentos.",
    "de": "Dazu habe ich in deinen Dokumenten keine Antwort gefunden.",
    "fr": "Je n'ai pas trouvé de réponse à cela dans vos documents.",
    "it": "Non ho trovato una risposta nei tuoi documenti.",
    "pt": "Não encontrei uma resposta para isso nos seus documentos.",
}
_QUOTES = {"en": "“{}”", "es": "«{}»", "de": "„{}“", "fr": "« {} »", "it": "«{}»", "pt": "«{}»"}


def not_found(language: str | None) -> str:
    """The honest answer when nothing retrieved supports one."""
    return _NOT_FOUND.get(language or "en", _NOT_FOUND["en"])


def quoted(text: str, language: str | None) -> str:
    """``text`` on one line, between the language's quotation marks."""
    return _QUOTES.get(language or "en", _QUOTES["en"]).format(" ".join(text.split()))
