"""Files of earlier versions and of prototypes, brought to today's schema: nothing is carried over blindly, or lost."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest

from capibara.config import ConfigError, load_settings
from capibara.config.fingerprint import LARGEST_FILE
from capibara.config.keys import setting_at
from capibara.config.migrate import Migration, migrate
from capibara.config.migrate_legacy import _RULES
from capibara.config.migrations import RENAMED, REVALUED
from capibara.config.sources import split_key

FLAT_KEYS = sorted({*_RULES} - {"further models", "models of no name"})


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes, name: str = "old.toml") -> Path:
        file = tmp_path / name
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    return write


def fate(migration: Migration, key: str) -> tuple[str, str, object, str]:
    [step] = [step for step in migration.steps if step.old_key == key]
    return step.fate, step.new_key, step.new, step.why


# A file of version 1


VERSION_1 = """\
# mine
schema_version = 1   # of last year

# for gated models
hub_token = "hf_s3cret"  # read only

[voice]  # the kitchen
model = "base"

# search
[rag]
alpha = 0.3
"""


def test_a_file_of_version_1_keeps_its_comments_and_its_order(write):
    migration = migrate(write(VERSION_1))
    expected = VERSION_1.replace("= 1   #", "= 3   #").replace("hub_token", "keys.hub")
    assert migration.text == expected
    assert fate(migration, "hub_token") == ("mapped", "keys.hub", "hf_s3cret", "renamed")
    assert fate(migration, "schema_version")[:3] == ("mapped", "schema_version", 3)
    assert fate(migration, "voice.model")[0] == "unchanged"


def test_nothing_is_written(write, tmp_path):
    file = write(VERSION_1)
    migrate(file)
    assert file.read_text() == VERSION_1
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "text", [VERSION_1, 'hub_token = "x"', "rag.top_k = 3", "", 'extends = "laptop"\n', "[rag]\r\nalpha = 0.3\r\n"]
)
def test_a_file_that_was_migrated_has_nothing_left_to_do(write, text):
    once = migrate(write(text)).text
    again = migrate(write(once))
    assert again.text == once
    assert {step.fate for step in again.steps} == {"unchanged"}


def test_a_renamed_key_goes_into_the_table_where_there_is_one(write):
    text = migrate(write('hub_token = "x"\n[rag]\nalpha = 0.3\n[keys]\n# none yet\n')).text
    assert text == 'schema_version = 3\n[rag]\nalpha = 0.3\n[keys]\n# none yet\nhub = "x"\n'


def test_todays_name_wins_over_an_earlier_one(write):
    migration = migrate(write('hub_token = "x"\n[keys]\nhub = "y"\n'))
    assert fate(migration, "hub_token") == ("dropped", "", None, "keys.hub is taken from keys.hub")
    assert tomllib.loads(migration.text)["keys"] == {"hub": "y"}


def test_a_value_beyond_todays_range_is_clamped_where_it_stands(write):
    migration = migrate(write("[rag]\ntop_k = 500  # all\nalpha = 0.3\n"))
    assert "top_k = 100  # all\nalpha = 0.3\n" in migration.text
    assert fate(migration, "rag.top_k") == ("mapped", "rag.top_k", 100, "was 500: 100 is the largest allowed")


def test_an_unknown_key_is_dropped_with_what_was_probably_meant(write):
    migration = migrate(write("schema_version = 1\n[rag]\ntopk = 5\nalpha = 0.3 # here\n[shop]\na = 1\n"))
    assert migration.text == "schema_version = 3\n[rag]\nalpha = 0.3 # here\n"
    assert fate(migration, "rag.topk")[3] == "unknown key rag.topk; did you mean rag.top_k?"
    assert fate(migration, "shop")[0] == "dropped"


@pytest.mark.parametrize("names", RENAMED.values())
def test_every_renamed_key_leads_to_a_setting(names):
    assert all(setting_at(split_key(new)) and not setting_at(split_key(old)) for old, new in names.items())


@pytest.mark.parametrize("values", REVALUED.values())
def test_every_renamed_value_is_one_that_its_setting_takes(write, values):
    for key, names in values.items():
        for old, new in names.items():
            migration = migrate(write(f'schema_version = 2\n{key} = "{old}"  # so far\n'))
            assert f'{key} = "{new}"  # so far' in migration.text
            assert fate(migration, key) == ("mapped", key, new, f'"{old}" is called so today')


# The flat keys of the prototypes


MAPPED = [
    ('model_name = "org/name"', "model.path", "org/name", ""),
    ('model_path = "models/m.gguf"', "model.path", "./models/m.gguf", "relative to this file now"),
    ('model_path = "/m.gguf"', "model.path", "/m.gguf", "relative"),
    ('model_path = "org/name"', "model.path", "org/name", ""),
    ('model_size = "small"', "voice.model", "small", "Whisper"),
    ('whisper_model = "base"', "voice.model", "base", ""),
    ("use_quantum = true", "rag.embedding_backend", "openvino-int8", "vector quantisation"),
    ('device = "tpu_v4"', "model.device", "tpu", ""),
    ('device = "cuda:0"', "model.device", "gpu", ""),
    ('device = "cuda"', "model.device", "gpu", ""),
    ('device = "GPU"', "model.device", "gpu", ""),
    ('device = "cpu"', "model.device", "cpu", ""),
    ("temperature = 0.7", "generation.temperature", 0.7, ""),
    ("temperature = 9", "generation.temperature", 5.0, "was 9: 5.0 is the largest allowed"),
    ("temperature = -1", "generation.temperature", 0.0, "was -1: 0.0 is the smallest allowed"),
    ('temperature = "0.7"', "generation.temperature", 0.7, "was text"),
    ('temperature = "9"', "generation.temperature", 5.0, 'was "9": 5.0 is the largest allowed'),
    ("max_tokens = 256", "generation.max_tokens", 256, ""),
    ("max_tokens = 256.0", "generation.max_tokens", 256, "a whole number today"),
    ("max_tokens = 100000", "generation.max_tokens", 8192, "largest"),
    ("max_tokens = 100000.0", "generation.max_tokens", 8192, "whole number"),
    ("max_length = 256", "generation.max_tokens", 256, "without the prompt"),
    ("top_k = 5", "rag.top_k", 5, "generation.top_k"),
    ("top_p = 0.9", "generation.top_p", 0.9, ""),
    ("chunk_size = 256", "rag.chunk_tokens", 256, "in tokens today"),
    ("chunk_overlap = 0", "rag.chunk_overlap_sentences", 0, "sentences"),
    ("chunk_overlap = 50", "rag.chunk_overlap_sentences", 1, "sentences"),
    ("similarity_threshold = 0.4", "assistant.least_support", 0.4, "no answer below it"),
    ("dedup_threshold = 0.9", "rag.dedup_threshold", 0.9, ""),
    ('embedding_model = "org/name"', "rag.embedding_model", "org/name", ""),
    ('reranker_model = "org/name"', "rag.reranker", "org/name", ""),
    ("use_reranker = false", "rag.reranker", "none", ""),
    ("vad_aggressiveness = 2", "voice.aggressiveness", 2, ""),
    ("vad_aggressiveness = 7", "voice.aggressiveness", 3, "largest"),
    ('language = "es"', "voice.language", "es", ""),
    ('language = "auto"', "voice.language", "none", ""),
    ('log_level = "WARN"', "logging.level", "warning", ""),
    ('log_level = "Info"', "logging.level", "info", ""),
    ('data_path = "library"', "data_dir", "library", "relative to this file now"),
    ('persist_directory = "/srv/chroma"', "data_dir", "/srv/chroma", "capibara ingest"),
    ('system_prompt = "Be kind."', "assistant.persona", "Be kind.", "compose"),
    ('system_prompt = "/think hard"', "assistant.persona", " /think hard", ""),
    ('hf_token = "s3"', "keys.hub", "s3", "models pull"),
    ('collection_name = "recipes"', "assistant.collection", "recipes", ""),
    ("alpha = 0.3", "rag.alpha", 0.3, "dense"),
    ("hybrid_alpha = 0.3", "rag.alpha", 0.3, "dense"),
    ("num_threads = 4", "model.threads", 4, ""),
    ("batch_size = 8", "rag.embedding_batch", 8, ""),
]  # fmt: skip


@pytest.mark.parametrize(("line", "key", "value", "why"), MAPPED, ids=[row[0] for row in MAPPED])
def test_a_key_of_a_prototype_is_carried_over(write, line, key, value, why):
    migration = migrate(write(line))
    found = fate(migration, line.partition(" = ")[0])
    assert found[:3] == ("mapped", key, value)
    assert why in found[3]
    tree = tomllib.loads(migration.text)
    assert tree.pop("schema_version") == 3
    for name in split_key(key):
        tree = tree[name]
    assert tree == value


DROPPED = [
    ('api_key = "s3"', "of which service is not known"),
    ("sample_rate = 16000", "any rate is taken"),
    ("port = 8000", "there is no server"),
    ('host = "0.0.0.0"', "there is no server"),
    ("use_quantum = false", "it was off"),
    ("use_reranker = true", "reranking is on by default"),
    ('model_size = "7b"', "language models have no sizes today"),
    ('device = "mps"', "no such device today"),
    ("temperature = true", "must be a valid number, not true"),
    ('temperature = "warm"', 'must be a valid number, not "warm"'),
    ("temperature = nan", "not nan"),
    ("max_tokens = 25.5", "must be a valid integer"),
    ("top_p = 0.0", "must be greater than 0"),
    ('chunk_overlap = "some"', "must be a number"),
    ("collection_name = 5", "must be a valid string, not 5"),
    ('log_level = "loud"', 'must be "debug", "info", "warning" or "error"'),
    ("langage = 'es'", "unknown key langage; did you mean voice.language?"),
    ("zzzzzz = 1", "unknown key zzzzzz"),
    ("rag = true", "rag is a group of settings and needs a table"),
]


@pytest.mark.parametrize(("line", "why"), DROPPED, ids=[row[0] for row in DROPPED])
def test_what_has_no_meaning_today_is_dropped_with_the_reason(write, line, why):
    migration = migrate(write(line))
    found = fate(migration, line.partition(" = ")[0])
    assert found[:3] == ("dropped", "", None)
    assert why in found[3]
    assert tomllib.loads(migration.text) == {"schema_version": 3}


@pytest.mark.parametrize(
    "models",
    [
        """'["a", "b"]'""",
        """["a", "b"]""",
        """'[{"name": "a"}, {"name": "b"}]'""",
        """[{name = "x", path = "a"}, {id = "b"}]""",
    ],
)
def test_of_several_models_the_first_is_taken_and_the_others_are_named(write, models):
    migration = migrate(write(f"models = {models}"))
    assert fate(migration, "models[0]")[:3] == ("mapped", "model.path", "a")
    assert fate(migration, "models[1]")[3] == "one language model at a time"
    assert [step.old for step in migration.steps] == ["a", "b"]


@pytest.mark.parametrize(
    ("models", "taken"), [('"a"', "a"), ("[]", None), ('""', None), ("[1]", None), ("[{}]", None), ("[{a = 1}]", None)]
)
def test_models_may_be_one_or_none(write, models, taken):
    migration = migrate(write(f"models = {models}"))
    assert tomllib.loads(migration.text).get("model", {}).get("path") == taken
    assert len(migration.steps) == 1


@pytest.mark.parametrize(
    ("text", "winner", "loser"),
    [
        ('model_name = "a"\nmodel_path = "b"', "model_path", "model_name"),
        ('models = ["a"]\nmodel_name = "b"', "model_name", "models[0]"),
        ('model_size = "small"\nwhisper_model = "base"', "whisper_model", "model_size"),
        ('data_path = "a"\ndata_dir = "b"', "data_dir", "data_path"),
        ('reranker_model = "a"\nuse_reranker = false', "use_reranker", "reranker_model"),
        ("hybrid_alpha = 0.1\nalpha = 0.2", "alpha", "hybrid_alpha"),
    ],
)
def test_where_two_keys_mean_the_same_the_more_exact_one_is_taken(write, text, winner, loser):
    migration = migrate(write(text))
    key = fate(migration, winner)[1]
    assert fate(migration, loser) == ("dropped", "", None, f"{key} is taken from {winner}")


def test_a_flat_file_becomes_a_new_one_in_the_schemas_order(write):
    text = migrate(write('# old\nlog_level = "info"\ntop_k = 5\ndata_dir = "x"\nmodel_name = "a"\n')).text
    assert text == (
        "# Made from old.toml by `capibara config migrate`.\nschema_version = 3\n"
        'data_dir = "x"\n\n[model]\npath = "a"\n\n[rag]\ntop_k = 5\n\n[logging]\nlevel = "info"\n'
    )


def test_the_line_that_names_the_schema_for_editors_stays_the_first(write):
    text = "#:schema ./capibara.schema.json\r\n# search\r\nrag.alpha = 0.3\r\n"
    assert migrate(write(text)).text.splitlines()[:3] == [text.splitlines()[0], "schema_version = 3", "# search"]


def test_flat_keys_in_a_file_of_today_are_carried_over_too(write):
    text = migrate(write('log_level = "info"  # more\n\n# search\n[rag]\nalpha = 0.3\n')).text
    assert text == 'schema_version = 3\nlogging.level = "info"  # more\n\n# search\n[rag]\nalpha = 0.3\n'


def test_json_becomes_toml(write):
    old = {"model_name": "a", "top_k": 3, "rag": {"alpha": 0.3}, "temperature": None, "voice": {"language": None}}
    migration = migrate(write(json.dumps(old), "settings.json"))
    tree = tomllib.loads(migration.text)
    assert tree == {
        "schema_version": 3,
        "model": {"path": "a"},
        "rag": {"alpha": 0.3, "top_k": 3},
        "voice": {"language": "none"},
    }
    assert fate(migration, "temperature")[0] == "dropped"


def test_json_is_recognised_by_its_content_too(write):
    assert tomllib.loads(migrate(write('{"top_k": 3}', "settings.conf")).text)["rag"] == {"top_k": 3}


@pytest.mark.parametrize("key", FLAT_KEYS)
def test_whatever_value_a_key_has_the_result_loads(write, tmp_path, key):
    for value in ('""', '"x"', '"-1"', "true", "false", "-1", "0", "1e9", "nan", "[]", "['x']", "{}", "1979-05-27"):
        migration = migrate(write(f"{key} = {value}"))
        (tmp_path / "new.toml").write_text(migration.text)
        load_settings(tmp_path / "new.toml", environ={})
        assert migration.steps


@pytest.mark.parametrize("name", FLAT_KEYS)
def test_every_row_leads_to_a_setting_or_says_why_not(name):
    rule = _RULES[name]
    assert setting_at(split_key(rule.key)) if rule.key else rule.note


# What is told, and what is refused


@pytest.mark.parametrize(
    "text",
    [
        VERSION_1,
        "hf_token = 's3cret'",
        "api_key = 's3cret'\nhf_token = 's3cret'",
        "openai_api_key = 's3cret'",
        "password = 's3cret'",
        "auth.token = 's3cret'",
        "rag.pdf_passwords = ['s3cret']",
        "rag.pdf_passwords = 's3cret'",
        "keys.hub = ['s3cret']",
    ],
)
def test_a_secret_is_not_in_the_report(write, text):
    steps = migrate(write(text)).steps
    told = [(step.old_key, step.old_text, step.new_key, step.new_text, step.why) for step in steps]
    assert "s3cret" not in str(told)
    assert "**********" in str(told) or "a table" in str(told)


def test_paths_that_are_relative_to_the_file_are_known(write):
    text = 'data_dir = "library"\nmodel.path = "./m.gguf"\nrag.embedding_model = "org/name"\nassistant.persona = "kind"'
    assert migrate(write(text)).relative == ("data_dir", "model.path")


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("a = ", "old.toml", "old.toml:1: not valid TOML: Invalid value at the end"),
        ("a = " + "[" * 5000, "old.toml", "old.toml: not valid TOML: nested too deeply"),
        ("{", "old.json", "old.json: not valid JSON: "),
        ("[1]", "old.json", "old.json: must be a JSON object with a value for each key"),
        (b"# ma\xf1ana", "old.toml", "old.toml: not UTF-8 text; save the file as UTF-8"),
        (
            "schema_version = 4",
            "old.toml",
            "old.toml: written for settings of version 4, this Capibara knows 3: update it",
        ),
    ],
    ids=["TOML", "deep", "JSON", "JSON list", "Latin-1", "newer"],
)
def test_a_file_that_cannot_be_read_is_told(write, content, name, message):
    with pytest.raises(ConfigError) as caught:
        migrate(write(content, name))
    assert str(caught.value).rpartition("/")[2].startswith(message)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        migrate(tmp_path / "none.toml")


def test_a_result_that_would_not_load_is_refused(write):
    with pytest.raises(ConfigError, match=r"there is no preset lap; there are arm"):
        migrate(write('extends = "lap"\nhub_token = "x"'))


def test_the_result_must_load_in_the_folder_it_is_for(write, tmp_path):
    write("rag.top_k = 3", "team.toml")
    old = write('extends = "./team.toml"\nhub_token = "x"')
    migrate(old, tmp_path / "new.toml")
    with pytest.raises(ConfigError, match=r"team\.toml cannot be read"):
        migrate(old, tmp_path / "elsewhere" / "new.toml")


@pytest.mark.parametrize("name", ["old.toml", "old.json"])
def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ConfigError, match=rf"{name}: cannot be read: not a regular file"):
        migrate(tmp_path / name)


def test_a_file_that_is_too_large_is_refused(tmp_path):
    old = tmp_path / "old.json"
    old.write_text("{" + " " * LARGEST_FILE + "}")
    with pytest.raises(ConfigError, match="larger than 1 MiB; that is no settings file"):
        migrate(old)
