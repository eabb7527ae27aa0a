"""Every family computes what transformers computes: logits, and greedy answers through the cache, past any window."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from capibara.config.schema import ModelSettings
from capibara.model import CheckpointError, Sampling, UnsupportedCheckpoint, open_model
from capibara.model.chunks import chunks_of
from capibara.model.runner import DecoderRunner
from capibara.model.safetensors_checkpoint import SafetensorsCheckpoint
from capibara.model.sampling import choice_of
from capibara.model.skeleton import assembled, split
from capibara.model.weight_cache import packed_weights
from capibara.model.weights import build, pack

from .tiny_families import FAMILIES, WINDOW, random_tokens, saved

PROMPT = random_tokens(500)


def runner_of(folder, compute="float32") -> DecoderRunner:
    checkpoint = SafetensorsCheckpoint(folder)
    return DecoderRunner(build(checkpoint.config, pack(checkpoint, compute)))


def cached_tokens(runner: DecoderRunner, tokens: list[int], most: int) -> list[int]:
    """Greedy continuation through prefill and cached steps."""
    greedy, progress = choice_of(Sampling(), 0), runner.begin(1024)
    for chunk in chunks_of(len(tokens)):
        progress, token = runner.prefill(progress, tokens, chunk, greedy)
    made = [int(token)]
    for position in range(len(tokens), len(tokens) + most - 1):
        (progress,), tokens_B = runner.advance([progress], [position], [greedy])
        made.append(int(tokens_B[0]))
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_cached_answers_are_those_of_transformers(tmp_path, family):
    model = saved(family, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    runner = runner_of(tmp_path)
    assert np.abs(runner.score(PROMPT) - model.logits(PROMPT)).max() <= 1e-4
    if family in ("gemma", "qwen3"):
        return  # their later kin do all that these do, and every step that is compiled takes seconds
    made = cached_tokens(runner, PROMPT, 24)
    assert made == model.logits(PROMPT + made)[len(PROMPT) - 1 : -1].argmax(axis=-1).tolist()


@pytest.mark.parametrize("family", ["mistral", "gemma3"])
def test_a_window_changes_what_is_seen(tmp_path, family):
    """What the test above relies on: without the window, its tokens would get other logits."""
    model, without = saved(family, tmp_path / "with"), saved(family, tmp_path / "without", sliding_window=1024)
    differences = np.abs(model.logits(PROMPT) - without.logits(PROMPT)).max(axis=-1)
    assert differences[:WINDOW].max() <= 1e-5
    assert differences[WINDOW:].min() > 1e-3


@pytest.mark.parametrize("family", ["qwen2", "mixtral"])
def test_eight_bit_logits_stay_close_to_float32(tmp_path, family):
    model = saved(family, tmp_path)
    exact, rounded = model.logits(PROMPT), runner_of(tmp_path, "int8").score(PROMPT)
    # A token that its router sends elsewhere gets other logits altogether: there are few such.
    errors = np.abs(exact - rounded).max(axis=-1) / np.abs(exact).max()
    assert 0 < np.quantile(errors, 0.9) <= 0.08


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_are_put_together_from_weights_alone_as_building_does(tmp_path, family):
    saved(family, tmp_path)
    checkpoint = SafetensorsCheckpoint(tmp_path)
    packed_weights(checkpoint, "int8", tmp_path / "cache")
    packed = packed_weights(checkpoint, "int8", tmp_path / "cache")  # as they are kept
    built, put_together = split(build(checkpoint.config, packed)), assembled(checkpoint.config, packed)
    assert put_together[:3] == built[:3]
    for ours, theirs in zip(put_together.weights, built.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_folder_is_opened_quantised_and_answers_the_same_from_what_was_kept(tmp_path, tiny):
    saved("gemma3", tmp_path / "folder")
    tiny.tokenizer().backend.save(str(tmp_path / "folder" / "tokenizer.json"))
    settings, ten = ModelSettings(path=str(tmp_path / "folder"), compute="int8"), Sampling(max_tokens=10)
    first, again = (open_model(settings, cache=tmp_path / "cache").generate("hello", ten).text for _ in range(2))
    assert len(list((tmp_path / "cache" / "weights").iterdir())) == 1
    assert first == again != ""


def changed_config(folder, **changes) -> None:
    given = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(given | changes))


def test_a_window_as_long_as_the_context_is_none(tmp_path):
    saved("mistral", tmp_path)
    changed_config(tmp_path, sliding_window=1024)
    assert {kind.window for kind in SafetensorsCheckpoint(tmp_path).config.layer_kinds} == {None}


@pytest.mark.parametrize("family", ["qwen2", "qwen3_moe"])
def test_a_window_whose_flag_is_off_is_none(tmp_path, family):
    saved(family, tmp_path)
    changed_config(tmp_path, use_sliding_window=False, sliding_window=WINDOW, layer_types=None)
    assert {kind.window for kind in SafetensorsCheckpoint(tmp_path).config.layer_kinds} == {None}


def test_what_older_files_say_in_other_words_means_the_same(tmp_path):
    """Gemma 3's files from before transformers 5: two bases, a scaling and a period instead of types of layers."""
    saved("gemma3", tmp_path, num_hidden_layers=4, layer_types=None, sliding_window_pattern=2)
    new = SafetensorsCheckpoint(tmp_path).config
    given = json.loads((tmp_path / "config.json").read_text())
    for name in ("rope_parameters", "layer_types", "tie_word_embeddings"):
        del given[name]
    given |= {"rope_theta": 500000.0, "rope_local_base_freq": 10000.0, "sliding_window_pattern": 2}
    given |= {"rope_scaling": {"type": "linear", "factor": 8.0}}
    (tmp_path / "config.json").write_text(json.dumps(given))
    assert SafetensorsCheckpoint(tmp_path).config == new
    assert [kind.positions for kind in new.layer_kinds] == ["local", "global", "local", "global"]


def test_longrope_is_run_up_to_the_context_its_short_factors_are_for(tmp_path):
    saved("phi3", tmp_path)
    config = SafetensorsCheckpoint(tmp_path).config
    assert config.context_tokens == 1024
    assert config.rope_factor == pytest.approx((1 + np.log(4) / np.log(1024)) ** 0.5)


@pytest.mark.parametrize(
    ("family", "changes", "named"),
    [
        ("llama", {"model_type": "mamba"}, r"'mamba' is not supported \(llama, mistral, .* and qwen3_moe are\)"),
        ("llama", {"model_type": None}, "None is not supported"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ("llama", {"sliding_window": 64}, "sliding attention window is not supported in 'llama'"),
        ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("gemma3", {"layer_types": ["chunked_attention"] * 2}, "'chunked_attention'"),
        ("gemma3", {"layer_types": ["full_attention"]}, "layer_types describes 1 of 2 layers"),
        ("qwen2", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "'dynamic'"),
        ("phi3", {"hidden_act": "relu"}, "'relu'"),
        ("mixtral", {"num_experts_per_tok": 5}, "5 of 4 experts"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_not_supported_is_named(tmp_path, family, changes, named):
    saved(family, tmp_path)
    changed_config(tmp_path, **changes)
    with pytest.raises(UnsupportedCheckpoint, match=named) as caught:
        SafetensorsCheckpoint(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hidden_size": "wide"}, "damaged"),
        ({"num_attention_heads": 0, "head_dim": None}, "damaged"),
        ({"rope_parameters": [1, 2]}, "damaged"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 0.0, "rope_theta": 1e4}}, "damaged"),
    ],
    ids=str,
)
def test_a_damaged_configuration_is_named_in_one_line(tmp_path, changes, named):
    saved("llama", tmp_path)
    changed_config(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=f"config.json: {named}") as caught:
        SafetensorsCheckpoint(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_configuration_that_lacks_something_says_what(tmp_path):
    saved("mixtral", tmp_path)
    given = json.loads((tmp_path / "config.json").read_text())
    del given["num_experts_per_tok"]
    (tmp_path / "config.json").write_text(json.dumps(given))
    with pytest.raises(CheckpointError, match=r"config\.json: num_experts_per_tok is missing"):
        SafetensorsCheckpoint(tmp_path)


@pytest.mark.parametrize(
    ("family", "tensor"),
    [
        ("qwen2", "model.layers.1.self_attn.k_proj.bias"),
        ("qwen3", "model.layers.0.self_attn.q_norm.weight"),
        ("gemma2", "model.layers.1.post_feedforward_layernorm.weight"),
        ("phi3", "model.layers.0.self_attn.qkv_proj.weight"),
        ("mixtral", "model.layers.1.block_sparse_moe.experts.3.w2.weight"),
    ],
)
@pytest.mark.parametrize("how", ["missing", "misshapen"])
def test_a_tensor_that_is_not_as_it_should_be_is_named(tmp_path, family, tensor, how):
    saved(family, tmp_path)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    shard = tmp_path / index["weight_map"][tensor]
    tensors = load_file(shard)
    if how == "missing":
        del tensors[tensor], index["weight_map"][tensor]
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    else:
        tensors[tensor] = tensors[tensor][:-8]
    save_file(tensors, shard)
    checkpoint = SafetensorsCheckpoint(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        pack(checkpoint, "float32")
    message = str(caught.value)
    assert "\n" not in message
    layer = tensor.split(".")[2]
    assert f"layers.{layer}." in message
    assert ("is missing" if how == "missing" else "the configuration asks for") in message


def test_descriptions_that_contradict_themselves_are_refused(tmp_path):
    saved("mixtral", tmp_path)
    config = SafetensorsCheckpoint(tmp_path).config
    for changes, named in [
        ({"experts": None}, "of which nothing is said"),
        ({"layers": 3}, "2 layers are described; there are 3"),
        ({"layers": 1 << 40, "layer_kinds": ()}, "at most 1024"),
        ({"rope_frequencies": (1.0,) * 9}, "cannot turn 18 of a head's 8 dimensions"),
    ]:
        with pytest.raises(UnsupportedCheckpoint, match=named):
            replace(config, **changes)
