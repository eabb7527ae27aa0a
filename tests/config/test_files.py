"""Settings files with all that belongs to them, and all that can be wrong with them: each mistake has its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from capibara.config import ConfigError, load_settings
from capibara.config.checks import cross_checks, place_of
from capibara.config.files import FileReader
from capibara.config.fingerprint import LARGEST_FILE
from capibara.config.load import LoadedSettings, read_sources

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture
def write(tmp_path):
    def write(name: str, content: str | bytes) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return write


def load(file: Path, **sources) -> LoadedSettings:
    return load_settings(file, **{"environ": {}, **sources})


def problems(file: Path, **sources) -> list[str]:
    """What is wrong, with paths relative to the file's folder."""
    with pytest.raises(ConfigError) as caught:
        load(file, **sources)
    return [str(problem).replace(f"{file.parent}/", "") for problem in caught.value.problems]


# What is read, and what wins


def test_each_source_wins_over_those_before_it(write):
    main = write(
        "c.toml", 'extends = ["laptop", "./base.toml"]\n[rag]\nrrf_k = 3\nalpha = 0.3\ntop_k = 3\nrerank_top = 3'
    )
    write("base.toml", "rag.embedding_batch = 2\nrag.rrf_k = 2\nrag.alpha = 0.2\nrag.top_k = 2\nrag.rerank_top = 2")
    write("config.d/10.toml", "rag.alpha = 0.4\nrag.top_k = 4\nrag.rerank_top = 4")
    environ = {"CAPIBARA_RAG__TOP_K": "5", "CAPIBARA_RAG__RERANK_TOP": "5"}
    loaded = load(main, environ=environ, overrides={"rag.rerank_top": 6})
    rag = loaded.settings.rag
    found = (rag.candidates, rag.embedding_batch, rag.rrf_k, rag.alpha, rag.top_k, rag.rerank_top)
    assert found == (60, 2, 3, 0.4, 5, 6)
    places = [str(loaded.origins[f"rag.{name}"]) for name in ("candidates", "embedding_batch", "rrf_k", "alpha")]
    folder = main.parent
    assert places == ["preset laptop:11", f"{folder}/base.toml:1", f"{main}:3", f"{folder}/config.d/10.toml:1"]
    assert loaded.origins["rag.candidates"].kind == "preset"


def test_the_bases_of_a_list_are_merged_in_its_order(write):
    main = write("c.toml", 'extends = ["./a.toml", "./b.toml"]')
    write("a.toml", "rag.alpha = 0.1\nrag.top_k = 1")
    write("b.toml", "rag.alpha = 0.2")
    rag = load(main).settings.rag
    assert (rag.alpha, rag.top_k) == (0.2, 1)


def test_a_file_may_extend_a_file_in_another_folder_that_extends_a_preset(write):
    main = write("mine/c.toml", 'extends = "../team/team.toml"\nrag.top_k = 7')
    team = write("team/team.toml", 'extends = "laptop"\nrag.top_k = 6\nrag.candidates = 40\ndata_dir = "library"')
    loaded = load(main)
    assert (loaded.settings.rag.top_k, loaded.settings.rag.candidates, loaded.settings.voice.model) == (7, 40, "base")
    assert loaded.settings.data_dir is not None
    assert loaded.settings.data_dir.resolve() == team.parent / "library"
    assert str(loaded.origins["voice.model"]) == "preset laptop:15"


def test_lists_are_replaced_and_tables_merged(write):
    main = write("c.toml", 'extends = "./a.toml"\ngeneration.stop = ["c"]\nrag.collections.es.rerank_mix = 0.1')
    write("a.toml", 'generation.stop = ["a", "b"]\nrag.collections.es.alpha = 0.3')
    settings = load(main).settings
    assert settings.generation.stop == ("c",)
    assert settings.rag.collections["es"].model_dump() == {"alpha": 0.3, "rerank_mix": 0.1}


def test_config_d_is_read_in_the_order_of_names_without_what_is_hidden_or_no_toml(write):
    main = write("c.toml", "rag.top_k = 1")
    for name, top_k in (("20.toml", 3), ("10.toml", 2), (".30.toml", 4), ("40.toml~", 5), ("50.txt", 6)):
        write(f"config.d/{name}", f"rag.top_k = {top_k}")
    assert load(main).settings.rag.top_k == 3


def test_config_d_is_read_without_a_main_file_too(write, tmp_path):
    write("config.d/10.toml", "rag.top_k = 2")
    sources = read_sources(tmp_path / "capibara.toml", required=False, environ={})
    assert [entry.value for entry in sources.entries] == [2]
    assert sources.file is None


def test_a_draft_is_read_instead_of_the_file(tmp_path):
    file = tmp_path / "c.toml"
    reader = FileReader(drafts={file: b"rag.top_k = 3"})
    reader.read(file, required=True)
    assert [entry.value for entry in reader.entries] == [3]
    assert reader.problems == []
    assert not file.exists()


# Text files


@pytest.mark.parametrize("key", ["prompts.compose", "prompts.condense", "assistant.persona"])
def test_a_text_file_gives_the_value_and_is_remembered(write, key):
    main = write("c.toml", f'{key} = "./texts/it.md"')
    text = write("texts/it.md", "\ufeff\nYou are kind.\n./not-a-path\n\n")
    loaded = load(main)
    section, name = key.split(".")
    assert getattr(getattr(loaded.settings, section), name) == "You are kind.\n./not-a-path"
    assert text in loaded.sources.contents
    before = loaded.sources.digest
    text.write_text("You are terse.")
    assert load(main).sources.digest != before


def test_text_that_begins_like_no_path_is_the_value(write):
    assert load(write("c.toml", 'assistant.persona = "texts/it.md"')).settings.assistant.persona == "texts/it.md"


def test_a_variable_may_name_a_text_file(write, monkeypatch, tmp_path):
    write("persona.md", "kind")
    monkeypatch.chdir(tmp_path)
    loaded = load_settings(None, environ={"CAPIBARA_ASSISTANT__PERSONA": "./persona.md"})
    assert loaded.settings.assistant.persona == "kind"


def test_a_missing_text_file_is_named_at_the_line_that_names_it(write):
    main = write("c.toml", '\nassistant.persona = "./none.md"')
    assert problems(main) == ["c.toml:2: none.md cannot be read: No such file or directory"]
    assert main.parent / "none.md" in read_sources(main, environ={}).contents


def test_a_text_file_that_is_no_text_is_named(write):
    main = write("c.toml", '[prompts]\ncompose = "./it.md"')
    write("it.md", b"ma\xf1ana")
    assert problems(main) == ["c.toml:2: prompts.compose: it.md is not UTF-8 text"]


def test_a_folder_in_place_of_a_text_file_is_named(write, tmp_path):
    (tmp_path / "texts").mkdir()
    assert problems(write("c.toml", 'prompts.compose = "./texts"')) == [
        "c.toml:1: texts cannot be read: Is a directory"
    ]


# What a file extends, when that cannot be


def test_a_circle_is_named_with_its_files_and_the_line_that_closes_it(write):
    main = write("a.toml", 'extends = "./b.toml"')
    write("b.toml", '\nextends = "./c.toml"')
    write("c.toml", '\n\nextends = "./b.toml"')
    assert problems(main) == ["c.toml:3: extends runs in a circle: b.toml extends c.toml extends b.toml"]


@pytest.mark.parametrize("way", ["./a.toml", "../cfg/a.toml", "./link.toml"])
def test_a_file_that_extends_itself_is_found_out_by_whatever_way_it_is_named(write, tmp_path, way):
    main = write("cfg/a.toml", f'extends = "{way}"')
    (tmp_path / "cfg" / "link.toml").symlink_to(main)
    [problem] = problems(main)
    assert problem.endswith(":1: extends runs in a circle: a.toml extends a.toml")


@pytest.mark.parametrize("way", ["./base.toml", "../cfg/base.toml", "./link.toml"])
def test_a_base_of_two_files_counts_once_before_both_by_whatever_ways_it_is_named(write, way):
    main = write("cfg/main.toml", 'extends = ["./b.toml", "./c.toml"]')
    write("cfg/b.toml", 'extends = "./base.toml"\nrag.top_k = 2\nrag.alpha = 0.2')
    write("cfg/c.toml", f'extends = "{way}"\nrag.alpha = 0.3')
    base = write("cfg/base.toml", "rag.top_k = 1\nrag.alpha = 0.1\nrag.rrf_k = 1")
    (base.parent / "link.toml").symlink_to(base)
    loaded = load(main)
    rag = loaded.settings.rag
    assert (rag.top_k, rag.alpha, rag.rrf_k) == (2, 0.3, 1)
    assert [entry.value for entry in loaded.sources.entries if entry.path == ("rag", "top_k")] == [1, 2]
    assert main.parent / way in loaded.sources.contents


@pytest.mark.parametrize("bases", ['["./base.toml", "./b.toml"]', '["./b.toml", "./base.toml"]'])
def test_a_base_does_not_win_over_what_extends_it_wherever_it_is_listed(write, bases):
    main = write("main.toml", f"extends = {bases}")
    write("b.toml", 'extends = "./base.toml"\nrag.top_k = 2')
    write("base.toml", "rag.top_k = 1")
    assert load(main).settings.rag.top_k == 2


def test_each_file_is_read_once_however_many_ways_lead_to_it(write, monkeypatch):
    depth = 30  # 2**30 ways to the last one
    for index in range(depth):
        write(f"{index}.toml", f'extends = ["./{index + 1}.toml", "./{index + 1}.toml"]')
    write(f"{depth}.toml", "assistant.persona = './p.md'\nprompts.compose = './p.md'")
    text = write("p.md", "kind")
    opened = []
    real_open = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *mode: (opened.append(path.name), real_open(path, *mode))[1])
    settings = load(text.parent / "0.toml").settings
    assert (settings.assistant.persona, settings.prompts.compose) == ("kind", "kind")
    assert sorted(opened) == sorted([f"{index}.toml" for index in range(depth + 1)] + ["p.md"])


def test_a_missing_base_is_told_wherever_it_is_named(write):
    main = write("a.toml", 'extends = ["./b.toml", "./none.toml"]')
    write("b.toml", 'extends = "./none.toml"')
    assert problems(main) == [
        "b.toml:1: none.toml cannot be read: No such file or directory",
        "a.toml:1: none.toml cannot be read: No such file or directory",
    ]


def test_a_base_that_is_missing_is_named_at_the_line_of_extends(write):
    assert problems(write("c.toml", '# mine\nextends = "./none.toml"')) == [
        "c.toml:2: none.toml cannot be read: No such file or directory"
    ]


def test_a_preset_that_is_none_is_answered_with_those_there_are(write):
    [problem] = problems(write("c.toml", 'extends = "lap"'))
    assert problem.startswith("c.toml:1: there is no preset lap; there are arm, default, development, laptop, ")
    assert problem.endswith(", or write a path such as ./lap.toml")


@pytest.mark.parametrize("given", ["5", "[1]", '""', '["laptop", ""]', "{a = 1}", "true"])
def test_extends_of_a_wrong_type_is_told_with_an_example(write, given):
    assert problems(write("c.toml", f"\nextends = {given}")) == [
        'c.toml:2: extends must be a name or a path, or a list of them, such as ["laptop", "./team.toml"]'
    ]


def test_extends_is_refused_in_config_d(write):
    main = write("c.toml", "")
    write("config.d/10.toml", '\nextends = "laptop"')
    assert problems(main) == ["config.d/10.toml:2: extends belongs into the main file, not into config.d"]


# Files that cannot be read


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"rag.top_k = 1\n\0\n", "c.toml:2: not valid TOML: Invalid statement at column 1"),
        (b'assistant.persona = "a\0b"\n', "c.toml:1: not valid TOML: Illegal character '\\x00' at column 23"),
        (b"# one\n# ma\xf1ana\n", "c.toml:2: not UTF-8 text; save the file as UTF-8"),
        ("rag.top_k = 5\n".encode("utf-16"), "c.toml:1: not UTF-8 text; save the file as UTF-8"),
        (b"#" * (LARGEST_FILE + 1), "c.toml: larger than 1 MiB; that is no settings file"),
        (b"#" * 10_000_000, "c.toml: larger than 1 MiB; that is no settings file"),
        (b"a = " + b"[" * 5000, "c.toml: not valid TOML: nested too deeply"),
        (b"[rag]\nalpha = 0.1\nalpha = 0.2", "c.toml:3: not valid TOML: Cannot overwrite a value at the end"),
        (b"[rag]\nalpha = 0.1\n[rag]\n", "c.toml:3: not valid TOML: Cannot declare ('rag',) twice at column 5"),
        (b'a = "open\n', "c.toml:1: not valid TOML: Illegal character '\\n' at column 10"),
        (b"rag.top_k = 5 rag.alpha = 1", "c.toml:1: not valid TOML: Expected newline or end of document after "
         "a statement at column 15"),
    ],
    ids=["NUL", "NUL in text", "Latin-1", "UTF-16", "1 MiB and 1", "10 MB", "deep", "key twice", "table twice",
         "open text", "two on a line"],
)  # fmt: skip
def test_a_file_that_is_no_settings_file_is_told_on_one_line(write, content, message):
    assert problems(write("c.toml", content)) == [message]


def test_the_largest_file_is_read(write):
    assert load(write("c.toml", b"rag.top_k = 3\n".ljust(LARGEST_FILE, b"#"))).settings.rag.top_k == 3


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "9" * 5000])
def test_a_number_of_thousands_of_digits_is_a_mistake_and_no_crash(write, number):
    [problem] = problems(write("c.toml", f"rag.top_k = {number}"))
    assert problem.startswith("c.toml")
    assert len(problem) < 250


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    folder = tmp_path / "c.toml"
    folder.mkdir()
    assert problems(folder) == [f"{folder.name}: cannot be read: Is a directory"]


def test_a_folder_in_config_d_is_named(write, tmp_path):
    main = write("c.toml", "")
    (tmp_path / "config.d" / "10.toml").mkdir(parents=True)
    assert problems(main) == ["config.d/10.toml: cannot be read: Is a directory"]


NO_FILE = "cannot be read: not a regular file; copy what it gives into one"


def test_a_pipe_in_place_of_the_file_is_refused_without_waiting_for_its_writer(tmp_path):
    pipe = tmp_path / "c.toml"
    os.mkfifo(pipe)
    assert problems(pipe) == [f"c.toml: {NO_FILE}"]


@pytest.mark.parametrize(
    ("text", "named"),
    [('extends = "./pipe.toml"', "pipe.toml"), ('assistant.persona = "./pipe.toml"', "pipe.toml")],
    ids=["base", "text file"],
)
def test_a_pipe_that_the_file_names_is_refused_at_its_line(write, tmp_path, text, named):
    os.mkfifo(tmp_path / named)
    assert problems(write("c.toml", f"\n{text}")) == [f"c.toml:2: {named} {NO_FILE}"]


def test_a_pipe_in_config_d_is_refused(write, tmp_path):
    main = write("c.toml", "")
    (tmp_path / "config.d").mkdir()
    os.mkfifo(tmp_path / "config.d" / "10.toml")
    assert problems(main) == [f"config.d/10.toml: {NO_FILE}"]


def test_a_device_in_place_of_a_text_file_is_refused(write):
    assert problems(write("c.toml", 'assistant.persona = "/dev/zero"')) == [f"c.toml:1: /dev/zero {NO_FILE}"]


def test_a_link_to_nothing_is_a_missing_file_even_where_none_is_required(tmp_path):
    link = tmp_path / "c.toml"
    link.symlink_to(tmp_path / "gone.toml")
    assert problems(link) == ["c.toml: cannot be read: No such file or directory"]
    assert read_sources(link, required=False, environ={}).problems


def test_a_link_in_a_circle_is_told_on_one_line(tmp_path):
    link = tmp_path / "c.toml"
    link.symlink_to(link)
    assert problems(link) == ["c.toml: cannot be read: Too many levels of symbolic links"]


@pytest.mark.skipif(AS_ROOT, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(write):
    file = write("c.toml", "")
    file.chmod(0)
    assert problems(file) == ["c.toml: cannot be read: Permission denied"]


# What is wrong in them


def test_mistakes_in_a_base_have_its_own_lines(write):
    main = write("c.toml", 'extends = "./team.toml"\nrag.top_k = 5')
    write("team.toml", "[rag]\n# more\ntopk = 5\nalpha = 7\ntop_k = 'five'")
    assert problems(main) == [
        "team.toml:3: unknown key rag.topk; did you mean rag.top_k?",
        "team.toml:4: rag.alpha must be less than or equal to 1, not 7",
        'team.toml:5: rag.top_k must be a valid integer, not "five"',
    ]


def test_mistakes_of_all_files_are_told_together(write):
    main = write("c.toml", 'extends = ["./a.toml", "./none.toml"]\nrag.x = 1')
    write("a.toml", "a = [")
    write("config.d/10.toml", "rag.y = 1")
    assert [problem.partition(": ")[0] for problem in problems(main)] == [
        "a.toml:1",
        "c.toml:1",
        "c.toml:2",
        "config.d/10.toml:1",
    ]


def test_lines_are_counted_alike_in_files_of_windows(write):
    assert problems(write("c.toml", "[rag]\r\n\r\ntopk = 1\r\n"))[0].startswith("c.toml:3: ")


def test_a_long_value_is_told_in_part(write):
    [problem] = problems(write("c.toml", f'rag.top_k = "{"x" * 100_000}"'))
    assert problem.startswith('c.toml:1: rag.top_k must be a valid integer, not "xxx')
    assert problem.endswith("x…")
    assert len(problem) < 200


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("3", "written for settings of version 3, this Capibara knows 2: update it"),
        ("0", "schema_version must be a whole number from 1"),
        ("-1", "schema_version must be a whole number from 1"),
        ('"2"', "schema_version must be a whole number from 1"),
        ("2.0", "schema_version must be a whole number from 1"),
        ("true", "schema_version must be a whole number from 1"),
    ],
)
def test_a_version_of_the_schema_that_cannot_be_is_told(write, given, message):
    assert problems(write("c.toml", f"\nschema_version = {given}\nrag.nonsense = 1")) == [f"c.toml:2: {message}"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_of_the_schema_that_is_known_is_taken(write, version):
    assert load(write("c.toml", f"schema_version = {version}\nrag.top_k = 3")).settings.rag.top_k == 3


def test_a_key_of_an_earlier_version_is_answered_with_its_name_today(write):
    assert problems(write("c.toml", 'schema_version = 1\nhub_token = "hf_s3cret"')) == [
        "c.toml:2: hub_token is called keys.hub now; `capibara config migrate FILE` rewrites a file"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "keys.hub = ['s3cret']",
        "keys = 's3cret'",
        "keys.hubb = 's3cret'",
        "hub_token = 's3cret'",
        "rag.pdf_passwords = 's3cret'",
        "rag.pdf_passwords = [['s3cret']]",
        "rag.pdf_passwords.a = 's3cret'",
        "[variants.b.set]\nkeys.hub = 's3cret'",
        "keys.hub = 's3cret'\nkeys.hub = 's3cret'",
        "keys.hub = 's3cret' 's3cret'",
        "[[keys]]\nhub = 's3cret'",
    ],
)
def test_a_secret_is_in_no_message(write, text):
    found = problems(write("c.toml", text))
    assert found
    assert "s3cret" not in "\n".join(found)


# Variants


def test_a_variant_differs_where_it_says_so_and_has_places_of_its_own(write):
    file = write("c.toml", "[rag]\nalpha = 0.6\n[variants.b]\nshare = 0.2\n[variants.b.set.rag]\nalpha = 0.3\n")
    loaded = load(file)
    assert loaded.settings.rag.alpha == 0.6
    assert loaded.variants["b"].rag.alpha == 0.3
    assert loaded.settings.variants["b"].share == 0.2
    assert str(loaded.origins["variants.b.set.rag.alpha"]) == f"{file}:6"
    assert cross_checks(loaded) == []


def test_a_variant_is_merged_from_several_files(write):
    main = write("c.toml", "[variants.b]\nshare = 0.2\n[variants.b.set.rag]\nalpha = 0.3\ntop_k = 3\n")
    write("config.d/10.toml", "variants.b.set.rag.alpha = 0.4")
    rag = load(main).variants["b"].rag
    assert (rag.alpha, rag.top_k) == (0.4, 3)


def test_a_variant_may_have_a_prompt_of_its_own_in_a_file(write):
    main = write("c.toml", 'variants.b.set.prompts.compose = "./b.md"')
    write("b.md", "Be brief.\n")
    assert load(main).variants["b"].prompts.compose == "Be brief."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[variants.b.set.rag]\n\nalpa = 0.3",
            "c.toml:3: unknown key variants.b.set.rag.alpa; did you mean variants.b.set.rag.alpha?",
        ),
        ("[variants.b]\nshar = 0.3", "c.toml:2: unknown key variants.b.shar; did you mean variants.b.share?"),
        ("variants.b.set.rag.alpha = 2", "c.toml:1: variants.b.set.rag.alpha must be less than or equal to 1, not 2"),
        ("variants.b.share = 1.5", "c.toml:1: variants.b.share must be less than or equal to 1, not 1.5"),
        ("variants.b.set = 5", "c.toml:1: variants.b.set is a group of settings and needs a table, not a single value"),
        (
            "[variants.b.set.rag]\n\nembedding_model = 'x'",
            "c.toml:3: rag.embedding_model is the same for all variants: set it outside",
        ),
        ("variants.b.set.model.threads = 2", "c.toml:1: model.threads is the same for all variants: set it outside"),
        ("variants.b.set.data_dir = 'x'", "c.toml:1: data_dir is the same for all variants: set it outside"),
        (
            "variants.b.set.logging.level = 'info'",
            "c.toml:1: logging.level is the same for all variants: set it outside",
        ),
        ("variants.b.set.keys.hub = 'x'", "c.toml:1: keys.hub is the same for all variants: set it outside"),
        (
            "variants.b.set.variants.c.share = 0.1",
            "c.toml:1: variants.c.share is the same for all variants: set it outside",
        ),
    ],
)
def test_a_mistake_in_a_variant_is_told_at_its_line(write, text, message):
    assert problems(write("c.toml", text)) == [message]


def test_shares_above_one_do_not_pass_the_cross_checks(write):
    loaded = load(write("c.toml", "variants.a.share = 0.6\nvariants.b.share = 0.3\nvariants.c.share = 0.2"))
    assert [str(problem).rpartition("/")[2] for problem in cross_checks(loaded)] == [
        "c.toml:3: variants.c.share makes the shares add up to 1.1: they may not pass 1"
    ]


def test_shares_of_exactly_one_pass(write):
    text = "\n".join(f"variants.v{index}.share = 0.1" for index in range(10))
    assert cross_checks(load(write("c.toml", text))) == []


# What does not go together is told where it was set


SECONDS = "voice.endpoint_max_seconds is 1, less than voice.endpoint_seconds (2): raise it"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("voice.endpoint_seconds = 2.0\nvoice.endpoint_max_seconds = 1.0", 2),
        (
            "[voice]\nendpoint_seconds = 0.5\nendpoint_max_seconds = 3.0\n[variants.b.set.voice]\n"
            "endpoint_seconds = 2.0\nendpoint_max_seconds = 1.0",
            6,
        ),
        (
            "[voice]\nendpoint_seconds = 0.5\nendpoint_max_seconds = 1.0\n[variants.b.set.voice]\n"
            "endpoint_seconds = 2.0",
            5,
        ),
        (
            "[variants.'b \"c\"'.set.voice]\nendpoint_seconds = 2.0\n[voice]\nendpoint_seconds = 0.5\n"
            "endpoint_max_seconds = 1.0",
            2,
        ),
    ],
    ids=["for everybody", "both in the variant", "the other one in the variant", "a name with quotes"],
)
def test_what_a_variant_sets_itself_is_to_blame_before_what_everybody_sees(write, text, line):
    loaded = load(write("c.toml", text))
    assert [str(problem).rpartition("/")[2] for problem in cross_checks(loaded)] == [f"c.toml:{line}: {SECONDS}"]


def test_the_place_of_a_key_is_the_variant_s_where_that_sets_it(write):
    file = write("c.toml", "rag.alpha = 0.1\nrag.top_k = 3\n[variants.'b.c'.set]\nrag.alpha = 0.2")
    loaded = load(file)
    places = [
        place_of(loaded, key, variant) for key in ("rag.alpha", "rag.top_k", "rag.rrf_k") for variant in (None, "b.c")
    ]
    assert places == [f"{file}:1", f"{file}:4", f"{file}:2", f"{file}:2", "default", "default"]
