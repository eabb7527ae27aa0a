"""Keys as text: written as TOML has them, taken apart again, and refused with the nearest name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capibara.config import ConfigError, load_settings
from capibara.config.keys import all_settings, dotted, known_prefix
from capibara.config.sources import split_key
from capibara.config.toml_edit import with_value

PART = st.one_of(
    st.text(st.sampled_from("\"\\'.ab <>=#[]\n\r\t\b\0\x1f\x7f\x85é\u2028\U0001f600")),
    st.text(st.characters(exclude_categories=())),
    st.just("<name>"),
)


@given(st.lists(PART, min_size=1, max_size=4).map(tuple))
def test_every_path_is_written_so_that_it_can_be_taken_apart_again(path):
    assert split_key(dotted(path)) == path


@pytest.mark.parametrize(
    ("path", "written"),
    [
        (("rag", "top_k"), "rag.top_k"),
        (("rag", "collections", "mis notas", "alpha"), 'rag.collections."mis notas".alpha'),
        (("a.b",), '"a.b"'),
        (("año",), '"año"'),
        (("",), '""'),
        (('say "hi"',), r'"say \"hi\""'),
        (("C:\\x",), r'"C:\\x"'),
        (("a\nb\tc\x00\x7f",), r'"a\nb\tc\u0000\u007F"'),
        (("stop", 0), "stop.0"),
    ],
)
def test_only_what_needs_quotes_has_them(path, written):
    assert dotted(path) == written


def test_the_keys_of_the_schema_show_where_a_name_is_free():
    assert "rag.collections.<name>.alpha" in [setting.key for setting in all_settings()]


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a.b", "a b", "<name>", "a\nb", "año"])
def test_a_collection_may_have_any_name_in_code_and_in_a_file(tmp_path, name):
    path = ("rag", "collections", name, "alpha")
    loaded = load_settings(None, environ={}, overrides={dotted(path): 0.3})
    assert {name: 0.3} == {name: one.alpha for name, one in loaded.settings.rag.collections.items()}
    assert dotted(path) in loaded.origins
    file = tmp_path / "c.toml"
    file.write_text(with_value("", path, 0.3), "utf-8")
    assert load_settings(file, environ={}).settings == loaded.settings


@pytest.mark.parametrize(
    "key",
    ["", "rag", "rag.top_k", "rag.collections", "rag.collections.es", 'rag.collections."a b".alpha', "variants",
     "variants.b", "variants.b.set", "variants.b.set.rag", "variants.b.set.rag.alpha", "data_dir"],
)  # fmt: skip
def test_settings_and_sections_are_known(key):
    known_prefix(key)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("rag.topk", "unknown key rag.topk; did you mean rag.top_k?"),
        ("rags", "unknown key rags; did you mean rag?"),
        ("variants.b.set.rag.topk", "unknown key variants.b.set.rag.topk; did you mean variants.b.set.rag.top_k?"),
        ("nonsense.x.y.z", "unknown key nonsense.x.y.z"),
        ("rag.top_k.more", "unknown key rag.top_k.more; did you mean rag.top_k?"),
        ("rag top_k", "'rag top_k' is not a key; write it like rag.top_k"),
        (" ", "' ' is not a key; write it like rag.top_k"),
    ],
)
def test_a_key_that_does_not_exist_is_refused_with_the_nearest_one(key, message):
    with pytest.raises(ConfigError) as caught:
        known_prefix(key)
    assert str(caught.value) == f"runtime {key}: {message}"
