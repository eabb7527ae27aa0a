"""Builds the tokenizer from a GGUF file's metadata: byte-level BPE (``gpt2``) and SentencePiece BPE (``llama``)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from .chat_template import ChatTemplate
from .errors import CheckpointError, UnsupportedCheckpoint
from .tokenizer import TextTokenizer

_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
_LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2_WORDS = _LLAMA3_WORDS.replace(r"\p{N}{1,3}", r"\p{N}")
_WORDS = {
    "llama-bpe": _LLAMA3_WORDS,
    "llama3": _LLAMA3_WORDS,
    "llama-v3": _LLAMA3_WORDS,
    "qwen2": _QWEN2_WORDS,
    "deepseek-r1-qwen": _QWEN2_WORDS,
}
_END_MARKERS = frozenset(
    ("<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|end|>", "</s>", "<end_of_turn>")
)


def gguf_tokenizer(metadata: Mapping[str, Any]) -> TextTokenizer:
    """The tokenizer that the metadata under ``tokenizer.`` describes.

    Raises:
        CheckpointError: something it needs is missing or damaged.
        UnsupportedCheckpoint: another kind of tokenizer, or word splitting, by name.
    """
    about = {key: value for key, value in metadata.items() if key.startswith("tokenizer.")}
    return _tokenizer(tuple((key, _frozen(value)) for key, value in sorted(about.items())))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


@functools.lru_cache(maxsize=2)
def _tokenizer(items: tuple[tuple[str, Any], ...]) -> TextTokenizer:
    """Kept for a model that comes back, or its like: to hand over a vocabulary holds up every thread of Python."""
    metadata = dict(items)
    kind = _needed(metadata, "model")
    if kind not in ("gpt2", "llama"):
        raise UnsupportedCheckpoint(f"tokenizer {kind!r} is not supported (gpt2 and llama are)")
    tokens: list[str] = _listed(metadata, "tokens", str)
    kinds: list[int] = [1] * len(tokens)
    if metadata.get("tokenizer.ggml.token_type"):
        kinds = _listed(metadata, "token_type", int, len(tokens))
    begin = _begin_token(metadata, kind, len(tokens))
    try:
        backend = _backend(metadata, kind, tokens, kinds, begin)
    except CheckpointError:
        raise
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"damaged: no tokenizer can be made of it: {error}") from error
    return TextTokenizer(backend, _template(metadata, tokens), begin, _end_tokens(metadata, tokens, kinds))


def _backend(
    metadata: Mapping[str, Any], kind: str, tokens: list[str], kinds: list[int], begin: int | None
) -> Tokenizer:
    backend = _byte_level(metadata, tokens) if kind == "gpt2" else _sentence_piece(metadata, tokens, kinds)
    marked = [(token, kinds[index]) for index, token in enumerate(tokens) if kinds[index] in (_CONTROL, _USER_DEFINED)]
    backend.add_special_tokens([AddedToken(token, normalized=False) for token, k in marked if k == _CONTROL])
    backend.add_tokens([AddedToken(token, normalized=False) for token, k in marked if k == _USER_DEFINED])
    if begin is not None:
        backend.post_processor = processors.TemplateProcessing(
            single=[tokens[begin], "$A"], special_tokens=[(tokens[begin], begin)]
        )
    return backend


def _needed(metadata: Mapping[str, Any], key: str) -> Any:
    try:
        return metadata[f"tokenizer.ggml.{key}"]
    except KeyError:
        raise CheckpointError(f"the file has no tokenizer.ggml.{key}: it carries no usable tokenizer") from None


def _listed(metadata: Mapping[str, Any], key: str, of: type | tuple[type, ...], count: int | None = None) -> list[Any]:
    """
    Raises:
        CheckpointError: it is missing, no list of these, or not of ``count``.
    """
    values = _needed(metadata, key)
    if not isinstance(values, tuple) or not all(isinstance(value, of) for value in values):
        raise CheckpointError(f"damaged: tokenizer.ggml.{key} is no list of what it should be")
    if count is not None and len(values) != count:
        raise CheckpointError(f"damaged: tokenizer.ggml.{key} has {len(values)} entries for {count} tokens")
    return list(values)


def _byte_level(metadata: Mapping[str, Any], tokens: list[str]) -> Tokenizer:
    splitting = metadata.get("tokenizer.ggml.pre", "gpt-2")
    whole_words_first = _WORDS.get(splitting) == _LLAMA3_WORDS
    merges = [tuple(pair.split(" ", 1)) for pair in _listed(metadata, "merges", str)]
    backend = Tokenizer(models.BPE(_vocabulary(tokens), merges, ignore_merges=whole_words_first))
    by_regex = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if splitting == "gpt-2":
        backend.pre_tokenizer = by_regex
    elif splitting == "smollm":
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), by_regex])
    elif splitting in _WORDS:
        words = pre_tokenizers.Split(Regex(_WORDS[splitting]), "isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([words, byte_level])
    else:
        *others, last = "gpt-2", "smollm", *_WORDS
        raise UnsupportedCheckpoint(
            f"tokenizer.ggml.pre {splitting!r} is not supported ({', '.join(others)} and {last} are)"
        )
    if _WORDS.get(splitting) == _QWEN2_WORDS:
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentence_piece(metadata: Mapping[str, Any], tokens: list[str], kinds: list[int]) -> Tokenizer:
    vocabulary = _vocabulary(tokens)
    unknown = next((tokens[index] for index, kind in enumerate(kinds) if kind == _UNKNOWN), None)
    merges = _merges(vocabulary, _listed(metadata, "scores", (int, float), len(tokens)))
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    spaces: list[normalizers.Normalizer] = [normalizers.Replace(" ", "▁")]
    words = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if metadata.get("tokenizer.ggml.add_space_prefix", True):
        spaces.insert(0, normalizers.Prepend("▁"))
        words.append(decoders.Strip(" ", 1, 0))
    backend.normalizer = normalizers.Sequence(spaces)
    backend.decoder = decoders.Sequence(words)
    return backend


def _merges(vocabulary: dict[str, int], scores: Sequence[float]) -> list[tuple[str, str]]:
    """SentencePiece joins the neighbours whose union scores best; each way to make a token is one merge."""
    found = []
    for whole, index in vocabulary.items():
        for cut in range(1, len(whole)):
            left, right = whole[:cut], whole[cut:]
            if left in vocabulary and right in vocabulary:
                found.append((-scores[index], vocabulary[left], vocabulary[right], left, right))
    found.sort()
    return [(left, right) for *_, left, right in found]


def _vocabulary(tokens: list[str]) -> dict[str, int]:
    vocabulary = {token: index for index, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise CheckpointError(f"damaged: {len(tokens) - len(vocabulary)} tokens of the vocabulary occur twice")
    return vocabulary


def _begin_token(metadata: Mapping[str, Any], kind: str, vocabulary: int) -> int | None:
    wanted = kind == "llama" or _WORDS.get(metadata.get("tokenizer.ggml.pre", "")) == _LLAMA3_WORDS
    begin = metadata.get("tokenizer.ggml.bos_token_id")
    if begin is None or not metadata.get("tokenizer.ggml.add_bos_token", wanted):
        return None
    return _in_vocabulary(begin, "beginning marker", vocabulary)


def _end_tokens(metadata: Mapping[str, Any], tokens: list[str], kinds: list[int]) -> frozenset[int]:
    named = {metadata.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot", "eom")}
    spelled = frozenset(
        index for index, token in enumerate(tokens) if kinds[index] == _CONTROL and token in _END_MARKERS
    )
    return spelled | {_in_vocabulary(index, "end marker", len(tokens)) for index in named if index is not None}


def _in_vocabulary(token: Any, what: str, vocabulary: int) -> int:
    if not _is_token(token, vocabulary):
        raise CheckpointError(f"damaged: the {what} is token {token!r} of {vocabulary}")
    return token


def _is_token(token: Any, vocabulary: int) -> TypeGuard[int]:
    return isinstance(token, int) and not isinstance(token, bool) and 0 <= token < vocabulary


def _template(metadata: Mapping[str, Any], tokens: list[str]) -> ChatTemplate:
    names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    marked = {name: metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in names.items()}
    spelled = {name: tokens[index] for name, index in marked.items() if _is_token(index, len(tokens))}
    source = metadata.get("tokenizer.chat_template")
    if not isinstance(source, str | None):
        raise CheckpointError("damaged: tokenizer.chat_template is no text")
    return ChatTemplate(source, spelled)
