"""Meshes of devices as settings name them."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from capibara.config import ConfigError, load_settings
from capibara.config.json_schema import json_schema
from capibara.config.mesh import MeshSizes, mesh_sizes


@pytest.mark.parametrize(
    ("value", "sizes"),
    [
        ("none", None),
        ("auto", None),
        ("tensor=4", (1, 4)),
        ("data=2", (2, 1)),
        ("data=2,tensor=4", (2, 4)),
        ("tensor=4,data=2", (2, 4)),
    ],
)
def test_an_axis_that_is_not_named_has_one_device(value, sizes):
    assert mesh_sizes(value) == sizes


def test_the_devices_of_a_mesh_are_those_of_its_axes_times_one_another():
    assert MeshSizes(2, 4).devices == 8


@pytest.mark.parametrize(
    "value", ["", "all", "4", "tensor", "tensor=0", "tensor=-1", "tensor=4,tensor=2", "data=2 tensor=4"]
)
def test_another_text_is_refused_with_an_example(value):
    with pytest.raises(ConfigError, match=r'model\.mesh must be "none", "auto", or sizes of axes such as "tensor=4"'):
        load_settings(None, environ={}, overrides={"model": {"mesh": value}})
    assert list(Draft202012Validator(json_schema()).iter_errors({"model": {"mesh": value}}))
