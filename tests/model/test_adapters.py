"""Adapters of the language model while it runs: merged or beside the weights, chosen by each request."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capibara.config.schema import ModelSettings
from capibara.model import AdapterError, AdapterSource, Sampling, UnknownAdapter
from capibara.model.adapter_files import Adapter, LoraFactors, write_adapter
from capibara.model.adapter_source import AdapterMode
from capibara.model.gguf_checkpoint import GgufCheckpoint
from capibara.model.language_model import JaxLanguageModel
from capibara.model.matrices import module_shapes
from capibara.model.memory import estimate
from capibara.model.runner_loading import Networks
from capibara.model.safetensors_checkpoint import SafetensorsCheckpoint

MODES: tuple[AdapterMode, ...] = ("merged", "low-rank")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ALL = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
TWELVE = Sampling(max_tokens=12)
PROMPT = "The river rises in the mountains and"


def random_adapter(config, targets=ALL, *, rank: int = 4, seed: int = 0, base_name: str = "tiny") -> Adapter:
    """Changes large enough that the answers differ."""
    rng = np.random.default_rng(seed)
    factors = {
        name: LoraFactors(
            rng.normal(0, inputs**-0.5, (rank, inputs)).astype(np.float32),
            rng.normal(0, 0.3, (outputs, rank)).astype(np.float32),
        )
        for name, (outputs, inputs) in module_shapes(config).items()
        if name.rpartition(".")[2] in targets
    }
    return Adapter(rank=rank, alpha=2.0 * rank, base_name=base_name, factors=factors)


@dataclass(frozen=True)
class Workshop:
    """Models of tiny random weights with adapters written to disk."""

    tiny: Any
    folder: Path

    def written(self, name: str, adapter: Adapter) -> Path:
        write_adapter(self.folder / name, adapter, np.float32)
        return self.folder / name

    def networks(self, config, tensors=None, compute="float32") -> Networks:
        tensors = self.tiny.tensors(config) if tensors is None else tensors
        settings = ModelSettings(compute=compute)
        return Networks(self.tiny.checkpoint(config, tensors), settings, self.folder / "cache")

    def model(self, config, sources: dict[str, AdapterSource], compute="float32") -> JaxLanguageModel:
        networks = self.networks(config, compute=compute)
        adapters = {name: partial(networks.adapted, source) for name, source in sources.items()}
        return JaxLanguageModel(self.tiny.checkpoint(config, {}), networks.plain, adapters=adapters)

    def three_in_both_modes(self, config) -> JaxLanguageModel:
        """Adapters ``0-merged`` to ``2-low-rank``: two of all projections, one of some in the first layer alone."""
        some = random_adapter(config, ("q_proj", "v_proj", "up_proj"), seed=3, rank=8)
        made = [
            random_adapter(config, seed=1),
            random_adapter(config, seed=2),
            replace(some, factors={name: pair for name, pair in some.factors.items() if ".layers.0." in name}),
        ]
        folders = [self.written(str(number), adapter) for number, adapter in enumerate(made)]
        return self.model(
            config, {f"{folder.name}-{mode}": AdapterSource(folder, mode) for folder in folders for mode in MODES}
        )


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


def test_a_merged_network_runs_on_the_steps_compiled_for_the_plain_one(tiny, workshop):
    config = tiny.config(context=1907)  # networks of one structure share their steps; no other is like this
    folder = workshop.written("a", random_adapter(config))
    model = workshop.model(config, {"a": AdapterSource(folder, "merged")})
    model.warm_up()
    model.generate(PROMPT, TWELVE)
    before = model.runner.compiled_steps()
    model.generate(PROMPT, TWELVE, adapter="a")
    assert model.runner_with("a").compiled_steps() == before == 4


def test_low_rank_networks_share_their_steps_where_rank_and_targets_are_the_same(tiny, workshop):
    config = tiny.config()
    made = {  # no other test has these ranks
        "one": random_adapter(config, seed=1, rank=3),
        "alike": random_adapter(config, seed=2, rank=3),
        "wider": random_adapter(config, seed=3, rank=5),
    }
    sources = {name: AdapterSource(workshop.written(name, adapter), "low-rank") for name, adapter in made.items()}
    model, first_token = workshop.model(config, sources), Sampling(max_tokens=1)
    for name in sources:
        model.generate(PROMPT, first_token, adapter=name)
    model.generate("of another chunk", first_token, adapter="alike")
    steps = {name: model.runner_with(name).compiled_steps() for name in sources}
    assert steps == {"one": 2, "alike": 2, "wider": 1}


def places(runner) -> set[int]:
    return {leaf.unsafe_buffer_pointer() for leaf in runner.weights}


def test_weights_that_an_adapter_leaves_as_they_are_lie_in_memory_once(tiny, workshop):
    config = tiny.config()
    attention = workshop.written("attention", random_adapter(config, ATTENTION))
    every = workshop.written("every", random_adapter(config))
    networks = workshop.networks(config)
    plain = places(networks.plain())
    merged = places(networks.adapted(AdapterSource(attention, "merged")))
    # Two layers, in each two matrices of the attention.
    assert len(merged) == len(plain)
    assert len(merged - plain) == 4
    low_rank = places(networks.adapted(AdapterSource(every, "low-rank")))
    assert plain < low_rank
    assert len(low_rank - plain) == 2 * 4 * 2


def test_weights_with_adapters_go_with_their_model_and_wait_for_no_collection_of_garbage(tiny, workshop):
    config = tiny.config()
    folder = workshop.written("a", random_adapter(config))
    model = workshop.model(config, {mode: AdapterSource(folder, mode) for mode in MODES})
    weights = [weakref.ref(weight) for mode in MODES for weight in model.runner_with(mode).weights]
    gc.collect()
    gc.disable()
    try:
        del model
        assert not any(weight() is not None for weight in weights)
    finally:
        gc.enable()


def test_quantised_weights_of_a_merged_adapter_are_kept_beside_those_of_its_base(tiny, workshop):
    config = tiny.config()
    source = AdapterSource(workshop.written("a", random_adapter(config, ("q_proj",))), "merged")
    tokens = list(range(40))
    made = workshop.networks(config, compute="int8").adapted(source).score(tokens)
    base, adapted = sorted((workshop.folder / "cache" / "weights").iterdir(), key=lambda file: -file.stat().st_size)
    assert adapted.stat().st_size < base.stat().st_size / 4
    kept = workshop.networks(config, tensors={}, compute="int8").adapted(source).score(tokens)
    np.testing.assert_array_equal(kept, made)
    workshop.written("a", random_adapter(config, ("q_proj",), seed=9))
    other = workshop.networks(config, compute="int8").adapted(source).score(tokens)
    assert np.abs(other - made).max() > 0.1


def test_what_the_replaced_model_ran_with_an_adapter_is_made_ready(tiny, workshop):
    config = tiny.config()
    old_folder = workshop.written("old", random_adapter(config))
    new_folder = workshop.written("new", random_adapter(config, rank=2))  # no other test has this rank
    old = workshop.model(config, {"a": AdapterSource(old_folder, "low-rank")})
    old.generate("x" * 200, TWELVE, adapter="a")
    new = workshop.model(config, {"a": AdapterSource(new_folder, "low-rank")})
    new.warm_up(old, adapters=["a"])
    compiled = new.runner_with("a").compiled_steps()
    new.generate("y" * 200, TWELVE, adapter="a")
    assert new.runner_with("a").compiled_steps() == compiled


@pytest.mark.parametrize("compute", ["float32", "int8"])
def test_the_memory_estimate_counts_what_adapters_add(tiny, compute):
    config = tiny.config()
    every, few = random_adapter(config), random_adapter(config, ("k_proj",))
    plain = estimate(config, compute)
    embedding = config.vocabulary * (config.width * 4 if compute == "float32" else config.width + 4)
    assert estimate(config, compute, adapters=[(every, "merged")]).adapters == plain.weights - embedding
    of_few = estimate(config, compute, adapters=[(few, "merged")])
    assert 0 < of_few.adapters < plain.weights - embedding
    assert of_few.peak - plain.peak == of_few.adapters
    # Two layers; rank 4; queries, keys and values together have 64 outputs and 32 inputs.
    assert estimate(config, compute, adapters=[(few, "low-rank")]).adapters == 2 * 4 * 4 * (64 + 32)
    kinds = [(every, "merged"), (few, "low-rank"), (few, "low-rank"), (every, "low-rank")]
    assert estimate(config, compute, adapters=kinds).programs == 3
