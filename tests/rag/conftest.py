"""What the tests of this room share: a tiny embedding model made on the spot, and the default one."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest

from capibara.config.schema import RagSettings

WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "was",
    "for",
    "on",
    "with",
    "at",
    "by",
    "from",
    "that",
    "it",
    "as",
    "are",
    "this",
    "be",
    "has",
    "capybara",
    "river",
    "lake",
    "boat",
    "ferry",
    "train",
    "night",
    "morning",
    "pier",
    "harbour",
    "library",
    "museum",
    "garden",
    "bridge",
    "engine",
    "valve",
    "pump",
    "pressure",
    "invoice",
    "letter",
    "report",
    "winter",
    "summer",
    "spring",
    "autumn",
    "north",
    "south",
    "east",
    "west",
    "red",
    "green",
    "blue",
    "yellow",
    "white",
    "black",
    "small",
    "large",
    "old",
    "new",
    "open",
    "closed",
    "first",
    "second",
    "third",
    "city",
    "village",
    "mountain",
    "island",
    "forest",
    "field",
    "stone",
    "water",
    "fire",
    "wind",
    "rain",
    "snow",
    "sun",
    "moon",
    "star",
    "bird",
    "horse",
    "dog",
    "cat",
    "fish",
    "tree",
]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder: BERT with one layer of 32 dimensions, random weights from a fixed seed."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("models") / "tiny"
    characters = [c for c in string.printable if not c.isspace() and not c.isupper()]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *characters, *(f"##{c}" for c in characters), *dict.fromkeys(WORDS)]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocab), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.5, pad_token_id=0,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizerFast", "model_max_length": 64})
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    kinds = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(modules)
    ]
    _write(folder / "modules.json", kinds)
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    return folder


@pytest.fixture(scope="session")
def tiny_settings(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RagSettings:
    """Settings that use the tiny model, through OpenVINO because that starts fastest."""
    return RagSettings(embedding_model=str(tiny_model), embedding_backend="openvino")


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")
