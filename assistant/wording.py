"""The assistant's own sentences, in the language of the question."""

from __future__ import annotations

import re

_NOT_FOUND = {
    "en": "I could not find an answer to that in your documents.",
    "es": "No he encontrado una respuesta a eso en tus documentos.",
    "de": "Dazu habe ich in deinen Dokumenten keine Antwort gefunden.",
    "fr": "Je n'ai pas trouvé de réponse à cela dans vos documents.",
    "it": "Non ho trovato una risposta nei tuoi documenti.",
    "pt": "Não encontrei uma resposta para isso nos seus documentos.",
}
_QUOTES = {"en": "“{}”", "es": "«{}»", "de": "„{}“", "fr": "« {} »", "it": "«{}»", "pt": "«{}»"}
_WORD = re.compile(r"\w+")
_OPENING = re.compile(r"[\w\s¡!]{1,20}[,.!;:…]+\s*")
_STOPPING = {
    "stop", "wait", "quiet", "silence", "enough", "cancel", "shush", "hush", "please", "now", "thanks", "thank", "you",
    "ok", "okay", "para", "pare", "basta", "espera", "espere", "silencio", "cállate", "calla", "callate", "cancela",
    "ya", "gracias", "por", "favor", "halt", "stopp", "warte", "bitte", "arrête", "attends", "ferma", "aspetta",
}  # fmt: skip


def not_found(language: str | None) -> str:
    """The honest answer when nothing retrieved supports one."""
    return _NOT_FOUND.get(language or "en", _NOT_FOUND["en"])


def quoted(text: str, language: str | None) -> str:
    """``text`` on one line, between the language's quotation marks."""
    return _QUOTES.get(language or "en", _QUOTES["en"]).format(" ".join(text.split()))


def after_stopping(text: str) -> str:
    """What ``text`` asks beyond ending an answer: nothing for "Para, para", the rest of "Wait, who was it?"."""
    if all(word in _STOPPING for word in _WORD.findall(text.casefold())):
        return ""
    opening = _OPENING.match(text)
    if opening is None or not all(word in _STOPPING for word in _WORD.findall(opening.group().casefold())):
        return text
    rest = text[opening.end() :].strip()
    return rest[:1].upper() + rest[1:]
