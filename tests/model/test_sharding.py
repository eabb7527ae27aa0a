"""Over a mesh of devices a network gives what it gives on one, and each device has its share of it alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from capibara.config.schema import ModelSettings
from capibara.model import DeviceNotFound
from capibara.model.sharding import placement_for, undivided

from . import meshes
from .test_folder import write_folder

FLAGS = (
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",  # halves the time that compiling takes
    "--xla_llvm_disable_expensive_passes=true",
)
MESHES = ("data=2,tensor=2", "tensor=8")


@pytest.fixture(scope="module")
def report(tmp_path_factory, tiny):
    """What `meshes` tells of eight simulated devices."""
    folder = tmp_path_factory.mktemp("meshes") / "m"
    write_folder(folder, tiny)
    flags = {**os.environ, "XLA_FLAGS": " ".join(FLAGS), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(Path(meshes.__file__)), str(folder)]
    done = subprocess.run(command, env=flags, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["devices"] == 8
    return told


@pytest.mark.parametrize("mesh", ["tensor=2", "tensor=4", "tensor=8", "data=2,tensor=4"])
def test_logits_over_a_mesh_that_everything_divides_by_are_those_of_one_device(report, mesh):
    assert report["even"][mesh] < 1e-4


@pytest.mark.parametrize("mesh", ["tensor=2", "tensor=4", "tensor=8"])
def test_logits_over_a_mesh_that_heads_and_widths_do_not_divide_by_are_those_of_one_device(report, mesh):
    assert report["uneven"][mesh] < 1e-4


@pytest.mark.parametrize("network", ["mixture", "adapted", "streaming"])
def test_logits_of_other_networks_are_those_of_one_device(report, network):
    assert report[network]["tensor=4"] < 1e-4


def test_heads_that_forget_decode_over_a_mesh_as_on_one_device(report):
    assert report["streaming tokens"]["tensor=4"] == report["streaming tokens"]["none"]
    assert len(set(report["streaming tokens"]["none"])) > 3


def test_logits_of_8_bit_weights_are_those_of_one_device_but_for_their_rounding(report):
    assert report["8 bits"]["tensor=4"] < 1e-3


@pytest.mark.parametrize("network", ["groups of 8 bits", "groups of 4 bits", "mixture in groups"])
def test_logits_of_weights_in_groups_are_those_of_one_device(report, network):
    assert max(report[network].values()) < 1e-4


def test_weights_in_groups_are_split_with_their_groups_numbers_and_never_inside_a_group(report):
    weights = report["layout of groups"]["weights"]
    assert weights["layers.0.attention.output.weight"] == [64, 1, 16]
    assert weights["layers.0.attention.output.scale"] == weights["layers.0.attention.output.least"] == [64, 1]
    assert weights["layers.0.feed.inputs.weight"] == [96, 2, 16]
    assert weights["layers.0.feed.inputs.scale"] == weights["layers.0.feed.inputs.least"] == [96, 2]
    assert weights["layers.0.feed.output.weight"] == [64, 3, 16]


@pytest.mark.parametrize("mesh", MESHES)
def test_the_engine_writes_over_a_mesh_what_it_writes_on_one_device(report, mesh):
    assert report["answers"][mesh]["texts"] == report["answers"]["none"]["texts"]
    assert len(set(report["answers"][mesh]["texts"])) == 4
    assert report["answers"][mesh]["drafted"] == report["answers"]["none"]["drafted"] > 0


def test_what_is_not_divided_is_said_once_in_the_log(report):
    assert [len(report["answers"][mesh]["told"]) for mesh in ("none", *MESHES)] == [0, 0, 1]
    [told] = report["answers"]["tensor=8"]["told"]
    assert told.endswith("does not divide by tensor=8: the caches' 2 key heads; embedding, 260 outputs")


def test_each_product_is_split_by_outputs_or_by_inputs_and_caches_by_heads(report):
    layout = report["layout"]["tensor=4"]
    D, V, N, F, H = 64, 256, 8, 96, 8
    assert layout["cache"] == [N // 4, 512, H]
    of_a_layer = {
        "attention.inputs.weight": [3 * N * H // 4, D],
        "attention.bias": [3 * N * H // 4],
        "attention.output.weight": [D, N * H // 4],
        "attention_norm": [D],
        "feed.inputs.weight": [2 * F // 4, D],
        "feed.output.weight": [D, F // 4],
        "feed_norm": [D],
    }
    assert layout["weights"] == {
        "embedding.weight": [V // 4, D],
        "head.weight": [V // 4, D],
        "norm": [D],
        **{f"layers.{layer}.{name}": shape for layer in range(2) for name, shape in of_a_layer.items()},
    }


def test_every_device_has_a_part_of_every_expert(report):
    weights = report["mixture's layout"]["weights"]
    assert weights["layers.0.feed.inputs.weight"] == [4 * 2 * 32, 64 // 4]
    assert weights["layers.0.feed.output.weight"] == [4 * 64, 32 // 4]
    assert weights["layers.0.feed.router.weight"] == [4, 64]


def test_devices_along_tensor_share_the_memory_and_those_along_data_repeat_it(report):
    layouts = report["layout"]
    in_all = layouts["none"]["in_all"]
    assert layouts["none"]["held"] == [in_all]
    for mesh, devices, shares in (("tensor=4", 4, 4), ("data=2,tensor=4", 8, 4), ("auto", 8, 8)):
        assert len(layouts[mesh]["held"]) == devices
        assert len(set(layouts[mesh]["held"])) == 1
        assert in_all / shares <= layouts[mesh]["held"][0] <= 1.02 * in_all / shares  # norms are on each


@pytest.mark.parametrize("network", ["even", "mixture"])
def test_devices_exchange_hidden_states_in_a_step_and_never_weights_or_caches(report, network):
    assert report["exchanged"][network] <= 3 * 64


def test_a_mesh_that_takes_more_devices_than_there_are_is_refused_by_naming_these():
    there = jax.devices()
    mesh = f"data=2,tensor={len(there)}"
    with pytest.raises(DeviceNotFound) as refused:
        placement_for(ModelSettings(mesh=mesh))
    assert f"a mesh of {mesh} takes {2 * len(there)} devices, but JAX finds {len(there)}" in str(refused.value)
    assert all(str(device) in str(refused.value) for device in there)


def test_what_cannot_be_split_is_told_once_for_all_layers():
    assert list(undivided(meshes.EVEN, 8)) == []
    assert list(undivided(meshes.UNEVEN, 2)) == [
        "the caches' 1 key heads",
        "embedding, 259 outputs",
        "feed.output, 33 inputs",
    ]


def test_groups_of_heads_that_cannot_be_split_are_told_though_all_heads_together_could_be():
    assert list(undivided(meshes.STREAMING, 8)) == ["the caches' 4 key heads"]
    assert list(undivided(meshes.EVEN, 2, group=32)) == ["feed.output, 3 groups of 32 inputs"]
