"""The schema for editors: it takes what the loader takes, and refuses what the loader refuses."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from capibara.config import ConfigError, load_settings
from capibara.config.json_schema import json_schema
from capibara.config.keys import Setting, all_settings
from capibara.config.presets import presets
from capibara.config.starter import starter

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def faults(tree: dict) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(tree)]


def examples() -> list[str]:
    """Every TOML example of the documentation."""
    texts = [file.read_text(encoding="utf-8") for file in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]]
    return [block for text in texts for block in re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]


def nested(path: tuple[str, ...], value: object) -> dict:
    for name in reversed(path):
        value = {"mine" if name == "<name>" else name: value}
    assert isinstance(value, dict)
    return value


def described(setting: Setting) -> dict:
    """The schema of one setting."""
    here = SCHEMA
    for name in setting.path:
        here = here["additionalProperties"] if name == "<name>" else here["properties"][name]
        if "$ref" in here:
            here = SCHEMA["$defs"][here["$ref"].rpartition("/")[2]]
    return here


def test_it_is_a_valid_schema_that_fits_into_json():
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset.name)
def test_presets_and_the_files_that_extend_them_are_valid(preset):
    assert faults(tomllib.loads(preset.file.read_text(encoding="utf-8"))) == []
    assert faults(tomllib.loads(starter(preset.name))) == []


def test_there_are_examples_in_the_documentation():
    assert len(examples()) >= 4


@pytest.mark.parametrize("example", examples(), ids=lambda text: text.splitlines()[0][:40])
def test_an_example_of_the_documentation_is_valid_and_every_key_exists(example, tmp_path):
    assert faults(tomllib.loads(example)) == []
    tree = {key: value for key, value in tomllib.loads(example).items() if key != "extends"}
    texts = {"prompts", "assistant"}  # they may name files that the example does not bring
    load_settings(None, environ={}, overrides={key: value for key, value in tree.items() if key not in texts})


@pytest.mark.parametrize("setting", all_settings(), ids=lambda setting: setting.key)
def test_each_setting_is_described_with_default_and_moment(setting):
    found = described(setting)
    assert found["description"] == setting.description
    assert found["x-applies"] == setting.applies
    assert found.get("x-unit", "") == setting.unit
    assert found["default"] == ("none" if setting.default is None else json.loads(json.dumps(setting.default)))
    assert faults(nested(setting.path, found["default"])) == []


@pytest.mark.parametrize("setting", all_settings(), ids=lambda setting: setting.key)
def test_the_word_none_is_taken_for_numbers_only_where_the_setting_is_optional(setting):
    if setting.number_or_flag:
        assert (faults(nested(setting.path, "none")) == []) is setting.optional


@pytest.mark.parametrize(
    "text",
    [
        "topk = 1",
        "rag.topk = 1",
        "rag = 1",
        'rag.top_k = "5"',
        "rag.top_k = 0",
        "rag.top_k = 101",
        "rag.dedup = 1",
        'rag.fusion = "convx"',
        "generation.stop = [1]",
        "generation.top_p = 0.0",
        "rag.collections.es.alpa = 0.1",
        "rag.collections.es.alpha = 2",
        "keys.hub = 5",
        "extends = 5",
        "extends = [1]",
        "schema_version = 4",
        'schema_version = "2"',
        "variants.b.shar = 0.1",
        "variants.b.share = 2",
        "variants.b.set.topk = 2",
        "variants.b.set.rag.topk = 2",
        'variants.b.set.rag.embedding_model = "x"',
        "variants.b.set.model.threads = 1",
        'variants.b.set.logging.level = "info"',
        "variants.b.set.limits.concurrent_requests = 1",
        'variants.b.set.data_dir = "x"',
    ],
)
def test_what_the_loader_refuses_the_schema_refuses(text, tmp_path):
    file = tmp_path / "capibara.toml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        load_settings(file, environ={})
    assert faults(tomllib.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        'extends = "laptop"\nschema_version = 2',
        'extends = ["laptop", "arm"]',
        "rag.alpha = 1",
        'model.threads = "none"',
        'voice.language = "none"',
        "rag.collections.es.alpha = 0.1",
        "[variants.b]\nshare = 0.2\n[variants.b.set.rag]\nalpha = 0.3",
        "[variants.b.set.rag.collections.es]\nalpha = 0.1",
    ],
)
def test_what_the_loader_takes_the_schema_takes(text, tmp_path):
    file = tmp_path / "capibara.toml"
    file.write_text(text)
    load_settings(file, environ={})
    assert faults(tomllib.loads(text)) == []
