"""Settings files with all that belongs to them: what is read, and what wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from capibara.config import load_settings
from capibara.config.files import FileReader
from capibara.config.load import read_sources

from .settings_files import load, problems

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
