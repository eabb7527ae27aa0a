"""Tiny models with random weights, made on the spot: what can be swapped often without taking the machine."""

from __future__ import annotations

import functools
import json
import string
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.model.conftest import Tiny, decoder_config, random_tensors
from tests.model.test_folder import write_folder


def tiny_language_model(folder: Path, seed: int = 0) -> Path:
    """A folder in Hugging Face's layout: two layers of 32 dimensions, one token for each byte."""
    config = functools.partial(decoder_config, context=8192)
    write_folder(folder, Tiny(config, functools.partial(random_tensors, seed=seed)))
    return folder


def tiny_cross_encoder(folder: Path) -> Path:
    """A folder of sentence-transformers: BERT with one layer of 32 dimensions and one score, by single letters."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification

    letters = [*string.ascii_lowercase, *string.digits]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokens), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=128, initializer_range=0.5, pad_token_id=0, num_labels=1,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.BertProcessing(ends[1], ends[0])
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "BertTokenizerFast", "model_max_length": 128}
    (folder / "tokenizer_config.json").write_text(json.dumps(about), "utf-8")
    return folder
