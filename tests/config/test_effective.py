"""What is shown of the settings: every key, where it came from, and no secret."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from capibara.config import effective, load_settings
from capibara.config.keys import all_settings
from capibara.config.reference import settings_table

DOCS = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_every_setting_is_shown_once_with_its_origin():
    rows = effective(load_settings(None, environ={"CAPIBARA_RAG__TOP_K": "5"}))
    plain = [setting.key for setting in all_settings() if "<name>" not in setting.key]
    assert [row.key for row in rows] == plain
    assert {row.key: (row.value, str(row.origin)) for row in rows}["rag.top_k"] == (5, "CAPIBARA_RAG__TOP_K")


def test_collections_that_are_configured_are_shown_with_their_name():
    rows = effective(load_settings(None, environ={}, overrides={"rag.collections.es.alpha": 0.3}))
    shown = {row.key: row.value for row in rows if row.key.startswith("rag.collections")}
    assert shown == {"rag.collections.es.alpha": 0.3, "rag.collections.es.rerank_mix": None}


def test_secrets_are_masked_in_values_and_text():
    rows = effective(load_settings(None, environ={}, overrides={"keys.hub": "s3", "rag.pdf_passwords": ["s3", "s3"]}))
    everything = json.dumps([(row.value, row.text) for row in rows])
    assert "s3" not in everything
    assert {row.key: row.value for row in rows}["rag.pdf_passwords"] == ["**********", "**********"]


def test_shown_values_can_be_read_back_as_toml():
    overrides = {"generation.stop": ['a"\n\\'], "data_dir": Path("x")}
    for row in effective(load_settings(None, environ={}, overrides=overrides)):
        if row.value is not None:
            assert tomllib.loads(f"v = {row.text}")["v"] == row.value


def test_the_documentation_lists_exactly_the_schema():
    table = DOCS.read_text(encoding="utf-8").split("## Every setting\n\n")[1]
    assert table == settings_table(), "write it anew: python -m capibara.config.reference"


def test_every_setting_says_what_it_means():
    assert [setting.key for setting in all_settings() if not setting.description] == []
