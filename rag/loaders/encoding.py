"""Which encoding a text file is in, and the file decoded piece by piece."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DocumentError
from .plausibility import guess
from .source import head, kind_by_magic, unreadable

_PIECE_BYTES = 1 << 20
_PIECE_CHARACTERS = 1 << 16
_SAMPLE_BYTES = 1 << 16

_BOMS = (  # the UTF-32 marks begin with the UTF-16 ones
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1a\x1b\b")) + b"\x7f"
_CONTROL_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Encoding:
    """A codec's name; ``guessed`` when neither a byte order mark nor valid UTF-8 settles it."""

    name: str
    guessed: bool = False

    @property
    def notice(self) -> str:
        """What to tell the user of a guess."""
        return f"decoded as {self.name}: it is not UTF-8"


def detect(path: Path) -> Encoding:
    """Find the encoding of ``path``: byte order mark, then strict UTF-8 over the whole file, then a guess.

    Raises:
        DocumentError: the file is binary or cannot be read.
    """
    start = head(path, _SAMPLE_BYTES)
    marked = by_mark(start)
    if marked is not None:
        return marked
    refuse_binary(start)
    try:
        bad = _first_bad_utf8(path)
        if bad is None:
            return Encoding("utf-8")
        with path.open("rb") as file:
            file.seek(max(0, bad - _SAMPLE_BYTES // 2))
            around = file.read(_SAMPLE_BYTES)
    except OSError as error:
        raise DocumentError(unreadable(error)) from error
    return Encoding(guess(start if bad < len(start) else around), guessed=True)


def detect_bytes(data: bytes, declared: str | None = None) -> Encoding:
    """As `detect`, for bytes in memory; ``declared`` (an HTML charset, say) is tried before guessing.

    Raises:
        DocumentError: the bytes are binary.
    """
    marked = by_mark(data)
    if marked is not None:
        return marked
    refuse_binary(data[:_SAMPLE_BYTES])
    for name in ("utf-8", declared):
        if name and _decodes(data, name):
            return Encoding(name)
    return Encoding(guess(data[:_SAMPLE_BYTES]), guessed=True)


def by_mark(data: bytes) -> Encoding | None:
    """The encoding a byte order mark, or the zero bytes of unmarked UTF-16, give away."""
    for mark, name in _BOMS:
        if data.startswith(mark):
            return Encoding(name)
    if 0 in data and (name := _unmarked_utf16(data[:_SAMPLE_BYTES])):
        return Encoding(name, guessed=True)
    return None


def refuse_binary(sample: bytes) -> None:
    """Raise `DocumentError` if ``sample`` is not text of an ASCII-compatible encoding."""
    kind = kind_by_magic(sample)
    if kind is not None:
        raise DocumentError(f"not text: its content is {kind}; give it the suffix of its format")
    controls = len(sample) - len(sample.translate(None, _CONTROL))
    if 0 in sample or controls > max(1, _CONTROL_SHARE * len(sample)):
        raise DocumentError("not text: binary data")


def pieces(path: Path, encoding: Encoding, warnings: list[str]) -> Iterator[str]:
    """Decode ``path`` in pieces of at most 64 Ki characters, line ends normalised to LF.

    Bytes that do not decode become U+FFFD and are counted in ``warnings``, as is a guessed encoding.

    Raises:
        DocumentError: the file cannot be read.
    """
    if encoding.guessed:
        warnings.append(encoding.notice)
    replaced = 0
    strict = encoding.name == "utf-8"
    try:
        with path.open(encoding=encoding.name, errors="strict" if strict else "replace", newline=None) as file:
            while piece := file.read(_PIECE_CHARACTERS):
                replaced += 0 if strict else piece.count("�")
                yield piece.replace("\0", "")
    except OSError as error:
        raise DocumentError(unreadable(error)) from error
    except UnicodeDecodeError as error:
        raise DocumentError("changed while it was being read") from error
    if replaced:
        warnings.append(f"{replaced} characters could not be decoded as {encoding.name}")


def declared_in(markup: bytes) -> str | None:
    """The charset an HTML or XML beginning declares, if Python knows it."""
    match = re.search(rb"(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]{2,40})", markup[:4096], re.IGNORECASE)
    if match is None:
        return None
    try:
        name = codecs.lookup(match[1].decode("ascii", "ignore")).name
    except LookupError:
        return None
    # Browsers read these labels as windows-1252 (WHATWG Encoding Standard, section 4.2).
    return "cp1252" if name in {"iso8859-1", "ascii"} else name


def _first_bad_utf8(path: Path) -> int | None:
    """Where strict UTF-8 decoding fails, as a byte offset; None: nowhere."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    offset = 0
    with path.open("rb") as file:
        while data := file.read(_PIECE_BYTES):
            if 0 in data:
                raise DocumentError("not text: binary data")
            try:
                decoder.decode(data)
            except UnicodeDecodeError as error:
                return offset + error.start
            offset += len(data)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return max(0, offset - 1)
    return None


def _decodes(data: bytes, name: str) -> bool:
    try:
        data.decode(name)
    except (UnicodeDecodeError, LookupError):
        return False
    return True


def _unmarked_utf16(sample: bytes) -> str | None:
    """UTF-16 of mostly Latin text has its zero bytes at every second place."""
    sample = sample[: len(sample) // 2 * 2]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    half = max(1, len(sample) // 2)
    if odd > 0.4 * half and even < 0.02 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.02 * half:
        return "utf-16-be"
    return None
