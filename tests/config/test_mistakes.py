"""What can be wrong in settings files: each mistake is told at its place, and no secret with it."""

from __future__ import annotations

import pytest

from .settings_files import load, problems


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
        ("4", "written for settings of version 4, this Capibara knows 3: update it"),
        ("0", "schema_version must be a whole number from 1"),
        ("-1", "schema_version must be a whole number from 1"),
        ('"2"', "schema_version must be a whole number from 1"),
        ("2.0", "schema_version must be a whole number from 1"),
        ("true", "schema_version must be a whole number from 1"),
    ],
)
def test_a_version_of_the_schema_that_cannot_be_is_told(write, given, message):
    assert problems(write("c.toml", f"\nschema_version = {given}\nrag.nonsense = 1")) == [f"c.toml:2: {message}"]


@pytest.mark.parametrize("version", [1, 2, 3])
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
