"""The presets: each can be used, alone and as what a file extends, and says what it is for."""

from __future__ import annotations

import tomllib
from importlib import resources

import pytest

from capibara.config import Settings, load_settings
from capibara.config.checks import cross_checks
from capibara.config.presets import PRESETS, no_preset, preset_file, preset_names, presets
from capibara.config.starter import starter

NAMES = ("arm", "default", "development", "laptop", "research", "server-gpu", "tpu-mesh")


def test_the_presets_are_files_of_the_installed_package():
    assert preset_names() == NAMES
    packaged = resources.files("capibara.config") / "presets"
    assert {one.name for one in packaged.iterdir() if one.name.endswith(".toml")} == {f"{name}.toml" for name in NAMES}
    assert [preset.file for preset in presets()] == [PRESETS / f"{name}.toml" for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_valid_and_agrees_with_itself(name):
    loaded = load_settings(preset_file(name), environ={})
    assert cross_checks(loaded) == []
    assert {origin.kind for origin in loaded.origins.values()} <= {"default", "preset"}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_extends_a_preset_has_its_settings(name, tmp_path):
    file = tmp_path / "capibara.toml"
    file.write_text(f'extends = "{name}"\nassistant.collection = "mine"\n')
    alone = load_settings(preset_file(name), environ={}).settings
    extended = load_settings(file, environ={}).settings
    assert extended.assistant.collection == "mine"
    assert extended.model_copy(update={"assistant": alone.assistant}) == alone


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset.name)
def test_a_preset_says_for_whom_it_is_and_why_it_sets_what_it_sets(preset):
    first, *lines = preset.file.read_text(encoding="utf-8").splitlines()
    assert first == f"# {preset.about}"
    assert preset.about.startswith("For ")
    assert [line for line in lines if " = " in line.partition("#")[0] and "#" not in line] == []


def test_the_default_preset_sets_nothing():
    assert load_settings(preset_file("default"), environ={}).settings == Settings()


def test_the_other_presets_differ_from_the_defaults_and_from_one_another():
    found = [load_settings(preset_file(name), environ={}).settings.model_dump_json() for name in NAMES]
    assert len(set(found)) == len(NAMES)


def test_the_preset_for_tpus_splits_the_model_over_all_of_them():
    model = load_settings(preset_file("tpu-mesh"), environ={}).settings.model
    assert (model.device, model.mesh, model.compute) == ("tpu", "auto", "bfloat16")


@pytest.mark.parametrize("name", ["", "lap", "Laptop", "../presets/laptop", "laptop.toml"])
def test_another_name_is_no_preset(name):
    assert preset_file(name) is None
    assert all(known in no_preset(name) for known in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_starter_of_a_preset_changes_nothing_even_with_its_comments_taken_away(name, tmp_path):
    text = starter(name)
    offered = [line[2:] if line.startswith("# ") and " = " in line else line for line in text.splitlines()]
    bare = [line for line in offered if line.partition(" = ")[0].isidentifier() or not line.startswith("#")]
    file = tmp_path / "capibara.toml"
    alone = load_settings(preset_file(name), environ={}).settings
    for content in (text, "\n".join(bare)):
        file.write_text(content, encoding="utf-8")
        assert load_settings(file, environ={}).settings == alone
    assert len(tomllib.loads("\n".join(bare))["rag"]) == 4


def test_the_starter_gives_meaning_unit_and_range_from_the_schema():
    assert "# longest generation; integer ≥ 1, ≤ 8192 tokens\n# max_tokens = 128\n" in starter("default")
