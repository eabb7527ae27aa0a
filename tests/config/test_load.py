"""Settings from files, the environment and arguments: precedence, conversion, and every kind of mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from capibara.config import ConfigError, Settings, TextValue, load_settings


@pytest.fixture
def toml(tmp_path):
    def write(text: str) -> Path:
        file = tmp_path / "capibara.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def problems(file=None, environ=None, overrides=None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(file, environ=environ or {}, overrides=overrides)
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    prefix = f"{file.parent}/" if file else ""
    return [str(problem).removeprefix(prefix) for problem in caught.value.problems]


def test_without_any_source_the_defaults_hold():
    loaded = load_settings(None, environ={"PATH": "/bin"})
    assert loaded.settings == Settings()
    assert {origin.kind for origin in loaded.origins.values()} == {"default"}


def test_a_later_source_wins_over_an_earlier_one(toml):
    file = toml("[rag]\ntop_k = 2\nrrf_k = 2\nalpha = 0.2\n")
    loaded = load_settings(
        file,
        environ={"CAPIBARA_RAG__RRF_K": "3", "CAPIBARA_RAG__ALPHA": "0.3"},
        overrides={"rag.alpha": 0.4},
    )
    assert (loaded.settings.rag.top_k, loaded.settings.rag.rrf_k, loaded.settings.rag.alpha) == (2, 3, 0.4)
    assert str(loaded.origins["rag.top_k"]) == f"{file}:2"
    assert str(loaded.origins["rag.rrf_k"]) == "CAPIBARA_RAG__RRF_K"
    assert str(loaded.origins["rag.alpha"]) == "argument rag.alpha"
    assert str(loaded.origins["rag.dedup"]) == "default"


def test_tables_are_merged_and_lists_replaced(toml):
    file = toml('generation.stop = ["a", "b"]\n[rag.collections.es]\nalpha = 0.3\n')
    loaded = load_settings(
        file,
        environ={"CAPIBARA_RAG__COLLECTIONS__ES__RERANK_MIX": "0.1"},
        overrides={"generation": {"stop": ["c"]}},
    )
    collection = loaded.settings.rag.collections["es"]
    assert (collection.alpha, collection.rerank_mix) == (0.3, 0.1)
    assert loaded.settings.generation.stop == ("c",)


@pytest.mark.parametrize(
    ("variable", "text", "read"),
    [
        ("CAPIBARA_RAG__TOP_K", "5", lambda s: s.rag.top_k == 5),
        ("CAPIBARA_RAG__DEDUP", "false", lambda s: s.rag.dedup is False),
        ("CAPIBARA_RAG__ALPHA", ".25", lambda s: s.rag.alpha == 0.25),
        ("CAPIBARA_MODEL__PATH", "5", lambda s: s.model.path == "5"),
        ("CAPIBARA_MODEL__THREADS", "none", lambda s: s.model.threads is None),
        ("CAPIBARA_GENERATION__STOP", '["a", "b\\n"]', lambda s: s.generation.stop == ("a", "b\n")),
        ("CAPIBARA_GENERATION__STOP", "[]", lambda s: s.generation.stop == ()),
        ("CAPIBARA_RAG", "{top_k = 7, fusion = 'rrf'}", lambda s: (s.rag.top_k, s.rag.fusion) == (7, "rrf")),
        ("CAPIBARA_RAG", '{"top_k": 7}', lambda s: s.rag.top_k == 7),
        ("CAPIBARA_RAG__COLLECTIONS__Mis_Notas__ALPHA", "1", lambda s: s.rag.collections["Mis_Notas"].alpha == 1),
        ("CAPIBARA_KEYS__HUB", "hf_x", lambda s: s.keys.hub == SecretStr("hf_x")),
        ("CAPIBARA_RAG__PDF_PASSWORDS", '["x"]', lambda s: s.rag.pdf_passwords == (SecretStr("x"),)),
    ],
)
def test_a_variable_or_flag_is_read_in_the_settings_type(variable, text, read):
    assert read(load_settings(None, environ={variable: text}).settings)


def test_variables_that_are_not_settings_are_left_alone():
    environ = {"CAPIBARA_DATA_DIR": "/x", "CAPIBARA_CACHE_DIR": "/y", "CAPIBARA_TEST_SLOW": "1", "capi": "1"}
    assert load_settings(None, environ=environ).settings == Settings()


@pytest.mark.parametrize(
    "overrides",
    [{"rag.top_k": 3}, {"rag": {"top_k": 3}}, {"rag.top_k": TextValue("3", "--set rag.top_k")}],
)
def test_arguments_may_be_dotted_nested_or_text(overrides):
    assert load_settings(None, environ={}, overrides=overrides).settings.rag.top_k == 3


def test_a_quoted_name_may_hold_dots():
    loaded = load_settings(None, environ={}, overrides={'rag.collections."a.b".alpha': 0.1})
    assert loaded.settings.rag.collections["a.b"].alpha == 0.1
    assert loaded.origins['rag.collections."a.b".alpha'].kind == "argument"


def test_paths_in_a_file_are_relative_to_its_folder(toml, tmp_path):
    file = toml('data_dir = "library"\n[model]\npath = "./m.gguf"\n[rag]\nembedding_model = "org/name"\n')
    settings = load_settings(file, environ={}).settings
    assert settings.data_dir == tmp_path / "library"
    assert Path(settings.model.path) == tmp_path / "m.gguf"
    assert settings.rag.embedding_model == "org/name"


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    file = tmp_path / "c.toml"
    file.write_bytes(b"\xef\xbb\xbfrag.top_k = 4\r\n")
    assert load_settings(file, environ={}).settings.rag.top_k == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[rag]\n\ntopk = 5\n", "capibara.toml:3: unknown key rag.topk; did you mean rag.top_k?"),
        ("[rgg]\ntop_k = 5\n", "capibara.toml:1: unknown section rgg; did you mean rag?"),
        ("chunk_token = 64\n", "capibara.toml:1: unknown key chunk_token; did you mean rag.chunk_tokens?"),
        ("zzzzzz = 1\n", "capibara.toml:1: unknown key zzzzzz"),
        (
            "[rag.collections.es]\nalpa = 1\n",
            "capibara.toml:2: unknown key rag.collections.es.alpa; did you mean rag.collections.es.alpha?",
        ),
        ("[rag]\ntop_k = 0\n", "capibara.toml:2: rag.top_k must be greater than or equal to 1, not 0"),
        ('[rag]\ntop_k = "5"\n', 'capibara.toml:2: rag.top_k must be a valid integer, not "5"'),
        ("[rag]\ntop_k = true\n", "capibara.toml:2: rag.top_k must be a valid integer, not true"),
        ("[rag]\ndedup = 1\n", "capibara.toml:2: rag.dedup must be a valid boolean, not 1"),
        ("[rag.top_k]\nx = 1\n", "capibara.toml:1: rag.top_k must be a valid integer, not a table"),
        ("rag = 5\n", "capibara.toml:1: rag is a group of settings and needs a table, not a single value"),
        (
            'rag.fusion = "convx"\n',
            'capibara.toml:1: rag.fusion must be "convex" or "rrf", not "convx"; did you mean "convex"?',
        ),
        (
            "[generation]\nstop = [\n  'a',\n  4,\n]\n",
            "capibara.toml:4: generation.stop[1] must be a valid string, not 4",
        ),
        ("a = 1\nb = \n", "capibara.toml:2: not valid TOML: Invalid value at column 5"),
        ("[rag]\n\ntop_k = [1,\n", "capibara.toml:4: not valid TOML: Invalid value at the end"),
        ("[rag]\nalpha = 1\nalpha = 2\n", "capibara.toml:3: not valid TOML: Cannot overwrite a value at column 10"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(toml, text, expected):
    assert problems(toml(text)) == [expected]


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("CAPIBARA_RAG__TOPK", "1", "unknown key rag.topk; did you mean CAPIBARA_RAG__TOP_K?"),
        ("CAPIBARA_GIBBERISH", "1", "unknown key gibberish"),
        ("CAPIBARA_RAG__TOP_K", "five", 'rag.top_k must be a valid integer, not "five"'),
        ("CAPIBARA_RAG__TOP_K", "", 'rag.top_k must be a valid integer, not ""'),
        ("CAPIBARA_GENERATION__STOP", "END", 'generation.stop must be a list such as ["one", "two"], in TOML or JSON'),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(variable, text, expected):
    assert problems(environ={variable: text}) == [f"{variable}: {expected}"]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"rag.topk": 1}, "argument rag.topk: unknown key rag.topk; did you mean rag.top_k?"),
        ({"rag": {"top_k": "1"}}, 'argument rag.top_k: rag.top_k must be a valid integer, not "1"'),
        ({"a b": 1}, "argument a b: 'a b' is not a key; write it like rag.top_k"),
        (
            {"rag.top_k": TextValue("x", "--set rag.top_k")},
            '--set rag.top_k: rag.top_k must be a valid integer, not "x"',
        ),
    ],
)
def test_a_mistake_in_an_argument_names_the_argument(overrides, expected):
    assert problems(overrides=overrides) == [expected]


def test_all_mistakes_of_all_sources_are_reported_together(toml):
    file = toml("rag.topk = 1\nrag.alpha = 3\n")
    found = problems(file, {"CAPIBARA_RAG__ALPHA": "x"}, {"rag.alpha": 0.5, "modl": 1})
    assert [line.split(": ")[0] for line in found] == [
        "capibara.toml:1",
        "capibara.toml:2",
        "CAPIBARA_RAG__ALPHA",
        "argument modl",
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [("keys.hub", ["s3cret"]), ("rag.pdf_passwords", ["ok", {"a": "s3cret"}]), ("rag.pdf_passwords", "s3cret")],
)
def test_a_secret_never_stands_in_an_error(key, value):
    assert not any("s3cret" in line for line in problems(overrides={key: value}))


def test_a_missing_file_is_named(tmp_path):
    assert problems(tmp_path / "none.toml") == ["none.toml: cannot be read: No such file or directory"]


def test_a_file_that_is_not_utf8_is_named_with_its_line(tmp_path):
    file = tmp_path / "latin.toml"
    file.write_bytes(b"# one\n# ma\xf1ana\n")
    assert problems(file) == ["latin.toml:2: not UTF-8 text; save the file as UTF-8"]


def test_a_snapshot_cannot_be_changed():
    settings = load_settings(None, environ={}).settings
    with pytest.raises(ValidationError):
        settings.rag.top_k = 3
