"""Guesses the legacy encoding of bytes that are not UTF-8, also from very short samples.

Statistical detectors need some hundred bytes. A few words are enough to see that the double-byte characters of an
East Asian encoding fall into the zone of its common characters (the level-1 rows of JIS X 0208, GB 2312, KS X 1001
and Big5 are ordered by frequency of use), or that single high bytes stand inside Western words.
"""

from __future__ import annotations

import re

# Lead-byte ranges of the characters in everyday use, and of kana, punctuation and full-width forms.
_COMMON_LEADS = {
    "cp932": ((0x81, 0x83), (0x88, 0x97)),
    "cp949": ((0xA1, 0xA3), (0xB0, 0xC8)),  # the narrowest zone of its family comes first: it wins a tie
    "gb18030": ((0xA1, 0xA3), (0xB0, 0xD7)),
    "big5": ((0xA1, 0xA3), (0xA4, 0xC6)),
    "euc_jp": ((0xA1, 0xA5), (0xB0, 0xCF)),
}
_COMMON_SHARE = 0.85
_WESTERN_LETTERS = "àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿßœšžðþÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝŸŒŠŽÐÞªº"
_WESTERN_SIGNS = "‘’‚“”„–—…•€£§©®°±²³·¿¡«»´™½¼¾×÷‰†‡¢¥µ¶¹\xa0‹›"
_WESTERN = re.compile(f"[{_WESTERN_LETTERS}]")
_ALIEN = re.compile(f"[^\x00-\x7f{_WESTERN_LETTERS}{re.escape(_WESTERN_SIGNS)}]")
_SIGN_IN_WORD = re.compile(r"[^\W\d_][€£§©®°±²³µ¶¼½¾×÷‰†‡¢¥„‚…•›‹«»][^\W\d_]")
_LONG_RUN = re.compile(f"[{_WESTERN_LETTERS}]{{5}}")
_BESIDE_ASCII = re.compile(f"(?<=[A-Za-z])[{_WESTERN_LETTERS}]|[{_WESTERN_LETTERS}](?=[A-Za-z])")


def guess(sample: bytes) -> str:
    """The likeliest codec of ``sample``, which is not valid UTF-8; ``cp1252`` when nothing speaks for another."""
    shares = {name: _common_share(sample, name) for name in _COMMON_LEADS}
    best = max(shares, key=lambda name: shares[name])
    if shares[best] >= _COMMON_SHARE:
        return best
    if _is_western(sample):
        return "cp1252"
    from charset_normalizer import from_bytes

    match = from_bytes(sample).best()
    return match.encoding if match is not None else "cp1252"


def _common_share(sample: bytes, codec: str) -> float:
    """Share of the sample's multi-byte characters that are everyday ones; 0 if it does not decode."""
    try:
        text = _decode_cut(sample, codec)
    except UnicodeDecodeError:
        return 0.0
    common = wide = 0
    for character in text:
        if character < "\x80":
            continue
        wide += 1
        raw = character.encode(codec, "ignore")
        common += len(raw) == 2 and any(low <= raw[0] <= high for low, high in _COMMON_LEADS[codec])
    return common / wide if wide else 0.0


def _decode_cut(sample: bytes, codec: str) -> str:
    """Decode strictly, forgiving a character cut in two at the end of the sample."""
    try:
        return sample.decode(codec)
    except UnicodeDecodeError as error:
        if error.start < len(sample) - 4:
            raise
        return sample[: error.start].decode(codec)


def _is_western(sample: bytes) -> bool:
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    if _ALIEN.search(text) or _SIGN_IN_WORD.search(text):
        return False
    letters = len(_WESTERN.findall(text))
    beside = len(_BESIDE_ASCII.findall(text))
    # Cyrillic or Greek read as Western shows whole words of accented letters.
    return beside >= 0.6 * letters or (beside > 0 and _LONG_RUN.search(text) is None)
