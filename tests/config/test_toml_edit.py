"""Values put into the text of a TOML file and taken out again: whatever its layout, nothing else changes."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capibara.config.sources import split_key
from capibara.config.toml_edit import Unplaceable, with_value, without_key

LAYOUTS = [
    "",
    "# only a comment",
    "rag.top_k = 5",
    "rag.top_k = 5\nrag.alpha = 0.1\nvoice.beam = 2\n",
    "rag = {top_k = 5}\n",
    "rag = {top_k = 5, collections = {es = {alpha = 0.1}}}\n[voice]\nbeam = 2",
    "[rag]\ntop_k = 5\n[voice]\nbeam = 1\n[rag.collections.es]\nalpha = 0.1\n",
    "[rag.collections.es]\nalpha = 0.1\n[voice]\nbeam = 1\n[rag]\ntop_k = 5 # few\n",
    "[rag]\n\n# end",
    "[rag]\r\ntop_k = 5 # few\r\n\r\n[voice]\r\nbeam = 1\r\n",
    "[ rag ]\n[ rag . collections . 'a.b' ]\nalpha = 1",
    "[rag]\ncollections.es.alpha = 0.1\ntop_k = 3",
    "[rag.collections]\nes = {alpha = 0.2}\n[variants.b]\nshare = 0.1\n[variants.b.set]\nrag.alpha = 0.3",
    "generation.stop = [\n 'a', # one\n 'b',\n]\n",
]
CHANGES = {
    "rag.top_k": 7,
    "rag.alpha": 0.25,
    "rag.collections.es.alpha": 0.4,
    'rag.collections."a.b".alpha': 0.5,
    "rag.collections.rag.alpha": 0.3,
    "variants.b.set.rag.alpha": 0.9,
    "variants.b.share": 0.2,
    "voice.beam": 3,
    "data_dir": "/x",
    "assistant.persona": "'''\x00\n\"\"\"\\",
    "generation.stop": ["a", "b\n"],
}


def put(tree: dict, path: tuple[str, ...], value: object) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(layout=st.sampled_from(LAYOUTS), keys=st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=5))
def test_however_a_file_is_laid_out_what_is_set_is_what_is_read_and_nothing_else_changes(layout, keys):
    text, meant = layout, tomllib.loads(layout)
    for key in keys:
        text = with_value(text, split_key(key), CHANGES[key])
        put(meant, split_key(key), CHANGES[key])
    assert tomllib.loads(text) == meant


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_key_can_be_taken_out_again(layout):
    for key in CHANGES:
        path = split_key(key)
        with_it = with_value(layout, path, CHANGES[key])
        meant = tomllib.loads(with_it)
        table = meant
        for name in path[:-1]:
            table = table[name]
        del table[path[-1]]
        assert tomllib.loads(without_key(with_it, path)) == meant


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("rag", "alpha"), "# mine\n[rag]\n# b\ntop_k = 1\n\n# voice\n[voice]\nbeam = 1\n"),
        (("rag",), "# mine\n\n# voice\n[voice]\nbeam = 1\n"),
        (("voice", "beam"), "# mine\n[rag]\nalpha = 1 # a\n# b\ntop_k = 1\n\n# voice\n[voice]\n"),
    ],
)
def test_comments_stay_when_a_key_or_a_table_goes(path, expected):
    text = "# mine\n[rag]\nalpha = 1 # a\n# b\ntop_k = 1\n\n# voice\n[voice]\nbeam = 1\n"
    assert without_key(text, path) == expected


def test_a_value_in_the_way_is_told():
    with pytest.raises(Unplaceable, match="lies below a key that is no table"):
        with_value("rag = 5", ("rag", "alpha"), 1)
