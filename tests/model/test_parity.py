"""The network computes what transformers' Llama computes, and its cached steps what the uncached forward computes."""

from __future__ import annotations

import numpy as np
import pytest

from capibara.model import Sampling
from capibara.model.chunks import chunks_of
from capibara.model.sampling import choice_of

SHAPES = [
    pytest.param(4, 4, True, id="multi-head-tied"),
    pytest.param(4, 4, False, id="multi-head-untied"),
    pytest.param(4, 2, True, id="grouped-tied"),
    pytest.param(4, 2, False, id="grouped-untied"),
    pytest.param(4, 1, True, id="multi-query-tied"),
    pytest.param(4, 1, False, id="multi-query-untied"),
]


def reference(config, tensors):
    """transformers' model around the same weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    base = config.rope_frequencies[1] ** (-config.head_width / 2)
    oracle = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.width,
            intermediate_size=config.hidden_width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            head_dim=config.head_width,
            max_position_embeddings=config.context_tokens,
            rms_norm_eps=config.norm_epsilon,
            rope_parameters={"rope_type": "default", "rope_theta": base},
            tie_word_embeddings=config.tied_head,
            attn_implementation="eager",
        )
    ).eval()
    state = {name: torch.from_numpy(values) for name, values in tensors.items()}
    missing, unexpected = oracle.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) <= ({"lm_head.weight"} if config.tied_head else set())
    oracle.tie_weights()
    return oracle


def reference_logits(oracle, tokens) -> np.ndarray:
    import torch

    with torch.no_grad():
        return oracle(torch.tensor([tokens])).logits[0].numpy()


def cached_tokens(runner, tokens: list[int], most: int) -> list[int]:
    """Greedy continuation through prefill and cached steps."""
    greedy = choice_of(Sampling(), 0)
    progress = runner.begin(1024)
    for chunk in chunks_of(len(tokens)):
        progress, token = runner.prefill(progress, tokens, chunk, greedy)
    made = [int(token)]
    for position in range(len(tokens), len(tokens) + most - 1):
        (progress,), tokens_B = runner.advance([progress], [position], [greedy])
        made.append(int(tokens_B[0]))
    return made


@pytest.mark.parametrize(("heads", "kv_heads", "tied"), SHAPES)
def test_logits_of_random_networks_equal_the_reference(tiny, heads, kv_heads, tied):
    config = tiny.config(heads, kv_heads, tied=tied)
    tensors = tiny.tensors(config, seed=heads + kv_heads)
    tokens = np.random.default_rng(1).integers(0, config.vocabulary, 70).tolist()
    ours = tiny.runner(config, tensors).score(tokens)
    assert np.abs(ours - reference_logits(reference(config, tensors), tokens)).max() <= 1e-4


@pytest.fixture(scope="module", params=[(4, 4, True), (4, 2, False)], ids=["multi-head-tied", "grouped-untied"])
def compiled(tiny, request):
    """A network of each kind, made once: what it compiled for one length serves the next."""
    heads, kv_heads, tied = request.param
    config = tiny.config(heads, kv_heads, tied=tied)
    return config, tiny.runner(config, tiny.tensors(config, seed=5))


@pytest.mark.parametrize("length", [1, 31, 32, 33, 300])
def test_cached_steps_choose_what_the_uncached_forward_chooses(compiled, length):
    config, runner = compiled
    tokens = np.random.default_rng(length).integers(0, config.vocabulary, length).tolist()
    made = cached_tokens(runner, tokens, 8)
    logits = runner.score(tokens + made)
    assert made == logits[length - 1 : -1].argmax(axis=-1).tolist()


def test_eight_bit_logits_stay_close_to_float32(tiny):
    config = tiny.config()
    tensors = tiny.tensors(config)
    tokens = np.random.default_rng(2).integers(0, config.vocabulary, 64).tolist()
    exact, rounded = (tiny.runner(config, tensors, compute).score(tokens) for compute in ("float32", "int8"))
    assert 0 < np.abs(exact - rounded).max() <= 0.05 * np.abs(exact).max()


def test_the_bundled_model_equals_the_reference_on_500_tokens(bundled_file):
    from capibara.model.gguf_checkpoint import GgufCheckpoint
    from capibara.model.runner import DecoderRunner
    from capibara.model.weights import build, pack

    checkpoint = GgufCheckpoint(bundled_file)
    config = checkpoint.config
    names = [name for name in tensor_names(config.layers) if name != "lm_head.weight"]
    oracle = reference(config, {name: np.array(checkpoint.tensor(name)) for name in names})
    tokens = checkpoint.tokenizer().encode(PROSE)[:500]
    assert len(tokens) == 500
    runner = DecoderRunner(build(config, pack(checkpoint, "float32")))
    made = cached_tokens(runner, tokens, 64)
    # One forward over prompt and answer: each token made must be the reference's own choice after those before it.
    expected = reference_logits(oracle, tokens + made)
    assert np.abs(runner.score(tokens) - expected[:500]).max() <= 2e-3
    assert made == expected[499:-1].argmax(axis=-1).tolist()


def tensor_names(layers: int) -> list[str]:
    parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "input_layernorm"]
    parts += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "post_attention_layernorm"]
    inner = [f"model.layers.{layer}.{part}.weight" for layer in range(layers) for part in parts]
    return ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight", *inner]


PROSE = " ".join(
    f"On day {day} the ferry to the {place} carried {count} passengers, {animal} and all, although the {weather} "
    f"made the captain, a {trade} by training, think twice about it."
    for day, (place, count, animal, weather, trade) in enumerate(
        [
            ("northern islands", 214, "two goats", "fog", "baker"),
            ("lighthouse", 17, "an old dog", "swell", "clockmaker"),
            ("salt works", 96, "forty hens", "heat", "surveyor"),
            ("harbour of Vigo", 301, "a parrot", "north wind", "teacher"),
            ("shipyard", 58, "no animals", "hail", "carpenter"),
            ("monastery", 42, "three mules", "rain", "notary"),
            ("weather station", 5, "a cat", "drizzle", "botanist"),
            ("fish market", 150, "six geese", "haze", "singer"),
            ("old quarantine house", 23, "one pig", "thunder", "printer"),
            ("regatta", 420, "a falcon", "calm", "smith"),
            ("oyster beds", 31, "a pony", "frost", "glazier"),
            ("customs house", 77, "two swans", "sleet", "cooper"),
            ("summer school", 188, "a tortoise", "gale", "weaver"),
        ],
        start=1,
    )
)
