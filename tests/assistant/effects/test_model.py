"""Which language model answers the next question, and how it runs, after each change."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from capibara.assistant import Assistant
from capibara.config import ConfigError
from capibara.model import Overloaded, Sampling
from capibara.model.head_pattern import HeadPattern, write_pattern
from capibara.model.language_model import JaxLanguageModel

from .observing import Changes, observes
from .test_generation import COST


def loaded(assistant: Assistant) -> JaxLanguageModel:
    model = assistant.language_model()
    assert isinstance(model, JaxLanguageModel)
    return model


@observes("model.path")
def test_another_model_writes_and_the_first_one_again_after_it(assistant: Assistant, change: Changes, models: Path):
    change(assistant, {"assistant.answer_style": "compose", "assistant.evidence_passages": 1})
    before = assistant.ask(COST)
    change(assistant, {"model.path": str(models / "other")})
    name, after = loaded(assistant).name, assistant.ask(COST)
    assistant.revert("model.path")
    assert (name, loaded(assistant).name) == ("other", "one")
    assert after.text != before.text
    assert assistant.ask(COST).text == before.text


@observes("model.context_tokens")
def test_a_prompt_that_does_not_fit_the_context_any_more_is_not_given(assistant: Assistant, change: Changes):
    change(assistant, {"assistant.answer_style": "compose", "assistant.evidence_passages": 1})
    before = assistant.ask(COST)
    change(assistant, {"model.context_tokens": 128})
    after = assistant.ask(COST)
    assert loaded(assistant).context_tokens == 128
    assert (before.degraded, before.usage.passages_used) == ((), 1)
    assert "128 tokens" in " ".join(after.degraded)


@observes("model.compute")
def test_weights_are_rounded_to_8_bits_where_that_is_set(assistant: Assistant, change: Changes):
    loaded(assistant)
    held = jax.live_arrays()
    change(assistant, {"model.compute": "int8"})
    loaded(assistant)
    rounded = [array for array in new_arrays(held) if array.dtype == np.int8]
    assert sum(array.size for array in rounded) > 10_000
    assert not [array for array in new_arrays(held) if array.ndim == 2 and array.size > 10_000 and array.itemsize > 1]


@observes("model.device")
def test_the_weights_go_to_the_device_that_is_named_if_it_is_there(assistant: Assistant, change: Changes):
    before = loaded(assistant)
    held = jax.live_arrays()
    change(assistant, {"model.device": "cpu"})
    assert loaded(assistant) is not before
    platforms = {device.platform for array in new_arrays(held) for device in array.devices()}
    assert platforms == {"cpu"}
    missing = next(kind for kind in ("tpu", "gpu") if kind not in {device.platform for device in jax.devices()})
    with pytest.raises(ConfigError, match=f"JAX finds no {missing} here"):
        assistant.update({"model.device": missing})
    assert assistant.settings.model.device == "cpu"


@observes("model.mesh")
def test_the_weights_are_spread_over_the_mesh_that_is_named_if_there_are_as_many_devices(
    assistant: Assistant, change: Changes
):
    before = loaded(assistant)
    held = jax.live_arrays()
    change(assistant, {"model.mesh": "tensor=1"})
    assert loaded(assistant) is not before
    assert before.runner.weights[0].sharding == SingleDeviceSharding(jax.devices()[0])
    weights = [array for array in new_arrays(held) if array.ndim == 2]
    assert {array.sharding.mesh.shape_tuple for array in weights} == {(("data", 1), ("tensor", 1))}
    with pytest.raises(ConfigError, match="a mesh of tensor=99 takes 99 devices, but JAX finds"):
        assistant.update({"model.mesh": "tensor=99"})
    assert assistant.settings.model.mesh == "tensor=1"


@observes("model.cache")
def test_keys_and_values_are_kept_in_8_bits_where_that_is_set(assistant: Assistant, change: Changes):
    def kinds() -> set[np.dtype]:
        return {
            part.dtype for part in jax.tree.leaves(loaded(assistant).runner.begin(512).caches) if part.shape[-1] > 1
        }

    before = kinds()
    change(assistant, {"model.cache": "int8"})
    assert (before, kinds()) == ({np.dtype(np.float32)}, {np.dtype(np.int8)})


@observes("model.head_pattern")
def test_heads_that_stream_take_less_memory_and_a_pattern_for_another_model_is_refused(
    assistant: Assistant, change: Changes, tmp_path: Path
):
    def cache_bytes() -> int:
        return sum(part.nbytes for part in jax.tree.leaves(loaded(assistant).runner.begin(512).caches))

    before = cache_bytes()
    file = tmp_path / "heads.toml"
    write_pattern(HeadPattern(((0.0, 1.0), (0.0, 0.0)), 4, 28), file)
    change(assistant, {"model.head_pattern": str(file)})
    assert cache_bytes() == before * (512 + 3 * 32) / (4 * 512)
    write_pattern(HeadPattern(((0.0,),), 4, 28), file.with_name("other.toml"))
    with pytest.raises(ConfigError, match="gates for 1 layers; there are 2"):
        assistant.update({"model.head_pattern": str(file.with_name("other.toml"))})


@observes("model.reader")
def test_the_adapter_that_is_named_reads(assistant: Assistant, change: Changes, reader: Path):
    loaded(assistant)
    change(assistant, {"model.reader": str(reader)})
    model = loaded(assistant)
    assert model.adapters == ("reader",)
    texts = {model.generate(COST, Sampling(max_tokens=8), adapter=adapter).text for adapter in (None, "reader")}
    assert len(texts) == 2


def test_an_adapter_that_is_not_there_is_refused_and_the_model_stays(assistant: Assistant, tmp_path: Path):
    before = loaded(assistant)
    with pytest.raises(ConfigError, match="is no adapter"):
        assistant.update({"model.reader": str(tmp_path / "nowhere")})
    assert loaded(assistant) is before


@observes("model.reader_mode")
def test_low_rank_keeps_no_second_copy_of_the_weights(assistant: Assistant, change: Changes, reader: Path):
    change(assistant, {"model.reader": str(reader)})
    merged = bytes_held(assistant)
    change(assistant, {"model.reader_mode": "low-rank"})
    low_rank = bytes_held(assistant)
    assert low_rank < merged


REPEATING = "the night in Casa Garza costs, the night in Casa Garza costs, the night in "


@observes("model.concurrent_generations")
def test_no_more_generations_run_at_once_than_are_set(assistant: Assistant, change: Changes):
    def most_at_once() -> int:
        model, sampling = loaded(assistant), Sampling(max_tokens=60)
        streams = [model.stream(text, sampling) for text in ("one", "two", "three")]
        threads = [threading.Thread(target=list, args=(stream,)) for stream in streams]
        for thread in threads:
            thread.start()
        seen = 0
        while any(thread.is_alive() for thread in threads):
            seen = max(seen, model.metrics.running)
            time.sleep(0.001)
        return seen

    change(assistant, {"model.speculate": False})
    before = most_at_once()
    change(assistant, {"model.concurrent_generations": 1})
    assert before > most_at_once() == 1


@observes("model.waiting_generations")
def test_a_generation_is_refused_where_as_many_wait_as_may(assistant: Assistant, change: Changes):
    change(assistant, {"model.concurrent_generations": 1, "model.speculate": False})
    long = Sampling(max_tokens=200)

    def third_is_refused() -> bool:
        model = loaded(assistant)
        first, second = model.stream("one", long), model.stream("two", long)
        next(first)
        waiting = threading.Thread(target=next, args=(second,))
        waiting.start()
        while not model.metrics.waiting:
            time.sleep(0.001)
        third = model.stream("three", Sampling(max_tokens=1))
        try:
            next(third)
        except Overloaded:
            return True
        finally:
            first.close()
            waiting.join()
            second.close()
        return False

    before = third_is_refused()
    change(assistant, {"model.waiting_generations": 1})
    assert (before, third_is_refused()) == (False, True)


@observes("model.prefix_cache_mib")
def test_nothing_of_earlier_prompts_is_kept_where_no_memory_is_given(assistant: Assistant, change: Changes):
    def kept() -> int:
        model = loaded(assistant)
        for question in ("one?", "two?"):
            model.generate(REPEATING + question, Sampling(max_tokens=1))
        return model.metrics.cached_tokens

    before = kept()
    change(assistant, {"model.prefix_cache_mib": 0})
    assert (before > 0, kept()) == (True, 0)


@observes("model.speculate")
def test_nothing_is_drafted_where_that_is_switched_off(assistant: Assistant, change: Changes):
    def drafted() -> int:
        model = loaded(assistant)
        model.generate(REPEATING, Sampling(max_tokens=20))
        return model.metrics.drafted_tokens

    before = drafted()
    change(assistant, {"model.speculate": False})
    assert (before > 0, drafted()) == (True, 0)


@observes("model.draft")
def test_a_model_that_drafts_saves_steps(assistant: Assistant, change: Changes, models: Path):
    def steps() -> int:
        model = loaded(assistant)
        model.generate(COST, Sampling(max_tokens=40))
        return model.metrics.decode_steps

    before = steps()
    change(assistant, {"model.draft": str(models / "one")})
    assert steps() < before / 2


def test_a_model_that_is_to_draft_and_is_not_there_is_refused(assistant: Assistant, tmp_path: Path):
    loaded(assistant)
    with pytest.raises(ConfigError, match=r"model\.draft: .*no model at .*nowhere"):
        assistant.update({"model.draft": str(tmp_path / "nowhere")})
    assert assistant.settings.model.draft == "none"


def bytes_held(assistant: Assistant) -> int:
    """On the device, once the model is loaded and what went before it has gone."""
    loaded(assistant)
    gc.collect()
    return sum(array.nbytes for array in jax.live_arrays())


def new_arrays(held: list[jax.Array]) -> list[jax.Array]:
    """What lies on a device now and did not when ``held`` was told."""
    known = {id(array) for array in held}
    return [array for array in jax.live_arrays() if id(array) not in known]
