"""Adapters of the language model while it runs: merged or beside the weights, chosen by each request."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from capibara.config.schema import ModelSettings
from capibara.model import AdapterError, AdapterSource, Sampling, UnknownAdapter
from capibara.model.adapter_files import write_adapter
from capibara.model.gguf_checkpoint import GgufCheckpoint
from capibara.model.language_model import JaxLanguageModel
from capibara.model.runner_loading import Networks
from capibara.model.safetensors_checkpoint import SafetensorsCheckpoint

from .adapter_workshop import ALL, MODES, PROMPT, TWELVE, Workshop, random_adapter


@pytest.fixture
def workshop(tiny, tmp_path) -> Workshop:
    return Workshop(tiny, tmp_path)


@pytest.fixture(scope="module")
def model(tiny, tmp_path_factory) -> JaxLanguageModel:
    return Workshop(tiny, tmp_path_factory.mktemp("adapters")).three_in_both_modes(tiny.config())


@pytest.fixture(scope="module")
def alone(model) -> dict[str | None, str]:
    """What each adapter says, asked one after the other."""
    return {adapter: model.generate(PROMPT, TWELVE, adapter=adapter).text for adapter in (None, *model.adapters)}


def test_merged_and_low_rank_say_the_same_and_each_adapter_something_else(alone):
    for number in range(3):
        assert alone[f"{number}-merged"] == alone[f"{number}-low-rank"]
    assert len(set(alone.values())) == 4


@pytest.mark.parametrize("mode", MODES)
def test_logits_are_those_of_weights_merged_by_hand(tiny, workshop, mode):
    config = tiny.config(tied=False)
    adapter, tensors = random_adapter(config, (*ALL, "lm_head")), tiny.tensors(config)
    source = AdapterSource(workshop.written("a", adapter), mode)
    by_hand = dict(tensors)
    for name, (down, up) in adapter.factors.items():
        by_hand[f"{name}.weight"] = tensors[f"{name}.weight"] + 2.0 * up @ down
    tokens = list(range(60))
    ours = workshop.networks(config, tensors).adapted(source).score(tokens)
    expected = tiny.runner(config, by_hand).score(tokens)
    assert np.abs(ours - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.abs(ours - tiny.runner(config, tensors).score(tokens)).max() > 0.1


def test_an_adapter_that_peft_has_saved_gives_the_logits_of_peft(tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 260}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    oracle = LlamaForCausalLM(LlamaConfig(**shape, **heads, attn_implementation="eager"))
    oracle.save_pretrained(tmp_path / "base")
    adapted = get_peft_model(oracle, LoraConfig(r=6, lora_alpha=9, target_modules=list(ALL), use_rslora=True)).eval()
    with torch.no_grad():
        for name, values in adapted.named_parameters():
            if "lora_B" in name:
                values.normal_(0, 0.3)
        adapted.save_pretrained(tmp_path / "adapter")
        expected = adapted(torch.arange(60)[None]).logits[0].numpy()
    networks = Networks(SafetensorsCheckpoint(tmp_path / "base"), ModelSettings(compute="float32"), tmp_path / "cache")
    for mode in MODES:
        ours = networks.adapted(AdapterSource(tmp_path / "adapter", mode)).score(range(60))
        assert np.abs(ours - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.abs(networks.plain().score(range(60)) - expected).max() > 0.1 * np.abs(expected).max()


def test_both_modes_make_the_same_of_the_bundled_model(bundled_file, tmp_path):
    checkpoint = GgufCheckpoint(bundled_file)
    adapter = random_adapter(checkpoint.config, ("q_proj", "v_proj"), base_name="HuggingFaceTB/SmolLM2-135M-Instruct")
    write_adapter(tmp_path / "a", adapter, np.float32)
    networks = Networks(checkpoint, ModelSettings(compute="float32"), tmp_path / "cache")
    tokens = checkpoint.tokenizer().encode(PROMPT)
    merged, low_rank = (networks.adapted(AdapterSource(tmp_path / "a", mode)).score(tokens) for mode in MODES)
    assert np.abs(merged - low_rank).max() <= 1e-4 * np.abs(merged).max()
    assert (merged.argmax(axis=-1) == low_rank.argmax(axis=-1)).all()
    assert (merged.argmax(axis=-1) != networks.plain().score(tokens).argmax(axis=-1)).any()


@pytest.mark.parametrize("mode", MODES)
def test_rounding_to_eight_bits_is_small_beside_what_an_adapter_changes(tiny, workshop, mode):
    config, tokens = tiny.config(), list(range(60))
    source = AdapterSource(workshop.written("a", random_adapter(config)), mode)
    exact, rounded = (
        workshop.networks(config, compute=compute).adapted(source).score(tokens) for compute in ("float32", "int8")
    )
    plain = workshop.networks(config).plain().score(tokens)
    assert 0 < np.square(rounded - exact).mean() <= 0.05**2 * np.square(plain - exact).mean()


def test_requests_with_different_adapters_in_turn_do_not_touch_one_another(model, alone):
    for adapter in [*reversed(alone), *alone, *list(alone)[::2]]:
        assert model.generate(PROMPT, TWELVE, adapter=adapter).text == alone[adapter]


def test_streams_with_different_adapters_may_be_read_in_turns(model, alone):
    streams = {adapter: model.stream(PROMPT, TWELVE, adapter=adapter) for adapter in alone}
    said = dict.fromkeys(alone, "")
    while streams:
        for adapter in list(streams):
            if (delta := next(streams[adapter], None)) is None:
                del streams[adapter]
            else:
                said[adapter] += delta.text
    assert said == alone


def test_threads_with_different_adapters_may_generate_and_load_at_once(tiny, workshop, alone):
    fresh = workshop.three_in_both_modes(tiny.config())
    asked = [*alone, *alone]
    with ThreadPoolExecutor(len(asked)) as pool:
        said = list(pool.map(lambda adapter: fresh.generate(PROMPT, TWELVE, adapter=adapter).text, asked))
    assert said == [alone[adapter] for adapter in asked]


def test_a_generation_goes_on_while_an_adapter_is_loaded(tiny, workshop):
    config = tiny.config()
    networks, may_load, loading = workshop.networks(config), threading.Event(), threading.Event()
    source = AdapterSource(workshop.written("a", random_adapter(config)))

    def load():
        loading.set()
        assert may_load.wait(60)
        return networks.adapted(source)

    model = JaxLanguageModel(tiny.checkpoint(config, {}), networks.plain, adapters={"a": load})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(model.generate, PROMPT, TWELVE, adapter="a")
        assert loading.wait(60)
        assert model.generate(PROMPT, TWELVE).usage.completion_tokens == 12
        assert not waiting.done()
        may_load.set()
        assert waiting.result().text != model.generate(PROMPT, TWELVE).text


def test_an_adapter_is_loaded_once_when_it_is_first_needed(tiny, workshop):
    config, loads = tiny.config(), []
    networks = workshop.networks(config)
    source = AdapterSource(workshop.written("a", random_adapter(config)))
    adapters = {
        name: lambda name=name: loads.append(name) or networks.adapted(source) for name in ("used", "warmed", "left")
    }
    model = JaxLanguageModel(tiny.checkpoint(config, {}), networks.plain, adapters=adapters)
    model.warm_up()
    assert loads == []
    model.warm_up(adapters=["warmed"])
    for _ in range(3):
        model.generate(PROMPT, Sampling(max_tokens=2), adapter="used")
        model.limited_to(500).generate(PROMPT, Sampling(max_tokens=2), adapter="warmed")
    assert loads == ["warmed", "used"]


def test_an_adapter_that_could_not_be_read_is_tried_again(tiny, workshop):
    config = tiny.config()
    model = workshop.model(config, {"late": AdapterSource(workshop.folder / "late")})
    with pytest.raises(AdapterError, match=r"late is no adapter: it has no adapter_config\.json"):
        model.generate(PROMPT, TWELVE, adapter="late")
    workshop.written("late", random_adapter(config))
    assert model.generate(PROMPT, TWELVE, adapter="late").text != model.generate(PROMPT, TWELVE).text


def test_an_unknown_adapter_is_refused_before_the_stream_and_the_known_ones_are_named(model):
    with pytest.raises(UnknownAdapter, match="no adapter 'writer': it has 0-merged, 0-low-rank, 1-merged"):
        model.stream(PROMPT, TWELVE, adapter="writer")
