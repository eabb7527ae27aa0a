"""Adapters at rest: what is written comes back, and what is wrong with bad files is said in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from capibara.model.adapter_files import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    Adapter,
    LoraFactors,
    check_fits,
    merged,
    read_adapter,
    write_adapter,
)
from capibara.model.errors import AdapterError, AdapterMismatch

QUERIES, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"
SHAPES = {QUERIES: (32, 16), DOWN: (16, 48)}


def adapter(rank: int = 4, **changes) -> Adapter:
    rng = np.random.default_rng(rank)
    factors = {
        name: LoraFactors(*(rng.normal(0, 0.1, shape).astype(np.float32) for shape in ((rank, k), (n, rank))))
        for name, (n, k) in SHAPES.items()
    }
    return Adapter(**{"rank": rank, "alpha": 8.0, "base_name": "tiny", "factors": factors, **changes})


def rewrite_weights(folder, change):
    tensors = load_file(folder / WEIGHTS_FILE)
    change(tensors)
    save_file(tensors, folder / WEIGHTS_FILE)


def rewrite_config(folder, **changes):
    file = folder / CONFIG_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 0.0), (np.float16, 2e-4)])
def test_an_adapter_comes_back_as_it_was_written(tmp_path, dtype, tolerance):
    written = adapter(alpha=12.5, dropout=0.1)
    write_adapter(tmp_path / "a", written, dtype)
    read = read_adapter(tmp_path / "a")
    assert (read.rank, read.alpha, read.base_name, read.dropout, read.task) == (4, 12.5, "tiny", 0.1, "CAUSAL_LM")
    assert read.factors.keys() == written.factors.keys()
    for name, factors in written.factors.items():
        for ours, theirs in zip(read.factors[name], factors, strict=True):
            assert ours.dtype == np.float32
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def test_tensors_trained_whole_come_back_beside_the_factors(tmp_path):
    head = {"classifier.weight": np.ones((1, 16), np.float32), "classifier.bias": np.zeros(1, np.float32)}
    write_adapter(tmp_path, adapter(whole=head, task="SEQ_CLS"))
    read = read_adapter(tmp_path)
    assert read.whole.keys() == head.keys()
    assert read.task == "SEQ_CLS"
    assert json.loads((tmp_path / CONFIG_FILE).read_text())["modules_to_save"] == ["classifier"]


def test_names_and_configuration_are_those_of_peft(tmp_path):
    write_adapter(tmp_path, adapter())
    tensors = load_file(tmp_path / WEIGHTS_FILE)
    assert tensors[f"base_model.model.{QUERIES}.lora_A.weight"].shape == (4, 16)
    assert tensors[f"base_model.model.{QUERIES}.lora_B.weight"].shape == (32, 4)
    assert {values.dtype for values in tensors.values()} == {np.dtype(np.float16)}
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    assert config["peft_type"] == "LORA"
    assert config["target_modules"] == ["down_proj", "q_proj"]


def test_writing_again_replaces_both_files_and_leaves_nothing_else(tmp_path):
    write_adapter(tmp_path, adapter(rank=4))
    write_adapter(tmp_path, adapter(rank=2))
    assert read_adapter(tmp_path).rank == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]


def test_a_rank_stabilised_adapter_keeps_its_change_under_another_alpha(tmp_path):
    write_adapter(tmp_path, adapter())
    rewrite_config(tmp_path, use_rslora=True)
    assert read_adapter(tmp_path).scale == pytest.approx(8.0 / 2.0)


def test_a_merged_matrix_is_the_base_plus_the_scaled_product():
    made = adapter()
    factors, weight = made.factors[QUERIES], np.ones((32, 16), np.float32)
    expected = 1.0 + 2.0 * np.einsum("nr,rk->nk", factors.up, factors.down)
    np.testing.assert_allclose(merged(weight, factors, made.scale), expected, rtol=1e-6)


def test_a_value_beyond_float16_is_not_written(tmp_path):
    made = adapter()
    made.factors[DOWN].up[3, 1] = 1e6
    with pytest.raises(AdapterError, match=rf"{DOWN}.lora_B.weight has values that are not finite in float16"):
        write_adapter(tmp_path / "a", made)
    assert not (tmp_path / "a").exists()


def test_an_adapter_that_fits_is_accepted():
    check_fits(adapter(), {**SHAPES, "model.layers.0.mlp.up_proj": (48, 16)}, "tiny")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({QUERIES: (32, 16)}, f"made for tiny and does not fit other: there is no {DOWN}"),
        ({**SHAPES, QUERIES: (64, 16)}, f"made for tiny and does not fit other: {QUERIES} is 64×16 there, .* 32×16"),
    ],
)
def test_an_adapter_for_another_base_is_refused_by_name_and_shape(shapes, message):
    with pytest.raises(AdapterMismatch, match=message):
        check_fits(adapter(), shapes, "other")


def drop(name):
    return lambda folder: rewrite_weights(folder, lambda tensors: tensors.pop(f"base_model.model.{name}"))


def put(name, shape):
    values = np.zeros(shape, np.float16)
    return lambda folder: rewrite_weights(folder, lambda tensors: tensors.update({f"base_model.model.{name}": values}))


def configure(**changes):
    return lambda folder: rewrite_config(folder, **changes)


BAD_FILES = {
    "no configuration": (lambda folder: (folder / CONFIG_FILE).unlink(), f"is no adapter: it has no {CONFIG_FILE}"),
    "no weights": (lambda folder: (folder / WEIGHTS_FILE).unlink(), f"is incomplete: it has no {WEIGHTS_FILE}"),
    "configuration cut short": (lambda folder: (folder / CONFIG_FILE).write_text('{"r": 4'), "not readable as JSON"),
    "configuration a list": (lambda folder: (folder / CONFIG_FILE).write_text("[]"), "not a JSON object"),
    "not safetensors": (
        lambda folder: (folder / WEIGHTS_FILE).write_bytes(b"PK\x03\x04" * 99),
        "no safetensors file",
    ),
    "weights cut short": (
        lambda folder: (folder / WEIGHTS_FILE).write_bytes((folder / WEIGHTS_FILE).read_bytes()[:-7]),
        "damaged, cut short",
    ),
    "down missing": (drop(f"{QUERIES}.lora_A.weight"), f"{QUERIES}.lora_A.weight is missing"),
    "up missing": (drop(f"{QUERIES}.lora_B.weight"), f"{QUERIES}.lora_B.weight is missing"),
    "another rank": (configure(r=8), f"a factor of {QUERIES} is 4×16, but {CONFIG_FILE} gives rank 8"),
    "up of another rank": (put(f"{QUERIES}.lora_B.weight", (32, 3)), f"a factor of {QUERIES} is 32×3"),
    "not a matrix": (put(f"{QUERIES}.lora_A.weight", (4,)), f"a factor of {QUERIES} is 4,"),
    "an embedding adapted": (put("model.embed_tokens.lora_embedding_A", (4, 9)), "lora_embedding_A is not supported"),
    "another method": (configure(peft_type="PREFIX_TUNING"), "'PREFIX_TUNING' is not supported"),
    "weight decomposition": (configure(use_dora=True), "use_dora is not supported"),
    "ranks by module": (configure(rank_pattern={"q_proj": 8}), "rank_pattern is not supported"),
    "biases": (configure(bias="all"), "bias 'all' is not supported"),
    "rank zero": (configure(r=0), "r is 0"),
    "no alpha": (configure(lora_alpha=None), "lora_alpha is None"),
}


@pytest.mark.parametrize(("damage", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_adapter_is_refused_in_one_line(tmp_path, damage, message):
    write_adapter(tmp_path, adapter())
    damage(tmp_path)
    with pytest.raises(AdapterError) as caught:
        read_adapter(tmp_path)
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_factors_is_refused(tmp_path):
    write_adapter(tmp_path, adapter())
    save_file({"base_model.model.other": np.zeros(3, np.float32)}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(AdapterError, match="holds no LoRA factors"):
        read_adapter(tmp_path)
