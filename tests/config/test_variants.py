"""Variants in settings files, and values that do not go together: told where they were set."""

from __future__ import annotations

import pytest

from capibara.config.checks import cross_checks, place_of

from .settings_files import load, problems


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
