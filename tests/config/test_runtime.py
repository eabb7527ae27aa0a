"""Settings from the program: set, undone, kept in a file, rolled back, and split into variants."""

from __future__ import annotations

import pytest

from capibara.config.errors import ConfigError
from capibara.config.generations import UnknownVariant
from capibara.config.sources import Origin
from capibara.config.variants import assign

from .parts import Recorder, live, write


@pytest.fixture
def file(tmp_path):
    write(tmp_path / "capibara.toml", "# mine\n[rag]\ntop_k = 3 # three\n")
    return tmp_path / "capibara.toml"


@pytest.mark.parametrize("values", [{"rag.top_k": 7}, {"rag": {"top_k": 7}}], ids=["dotted", "nested"])
def test_an_update_wins_over_every_other_source_and_says_that_it_is_one(file, values):
    settings = live(file, environ={"CAPIBARA_RAG__TOP_K": "5"}, overrides={"rag.top_k": 6})
    assert settings.snapshot.settings.rag.top_k == 6
    result = settings.update(values)
    assert settings.snapshot.settings.rag.top_k == 7
    assert result.changes[0].origin.kind == "runtime"
    assert settings.loaded.origins["rag.top_k"] == Origin("runtime", "runtime rag.top_k")


def test_an_update_stays_when_the_file_changes_and_goes_when_it_is_reverted(file):
    settings = live(file)
    settings.update({"rag.top_k": 7, "rag.alpha": 0.1})
    write(file, "[rag]\ntop_k = 4\nrrf_k = 9\n")
    settings.reload()
    assert (settings.snapshot.settings.rag.top_k, settings.snapshot.settings.rag.rrf_k) == (7, 9)
    settings.revert("rag.top_k")
    assert (settings.snapshot.settings.rag.top_k, settings.snapshot.settings.rag.alpha) == (4, 0.1)
    settings.revert()
    assert settings.snapshot.settings.rag.alpha == 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rag.topk": 1}, "runtime rag.topk: unknown key rag.topk; did you mean rag.top_k?"),
        ({"rag.top_k": 0}, "runtime rag.top_k: rag.top_k must be greater than or equal to 1, not 0"),
        ({"data_dir": "/else"}, "runtime data_dir: data_dir can only change with a restart"),
        ({"rag top_k": 1}, "runtime rag top_k: 'rag top_k' is not a key"),
        ({"generation.max_tokens": 200, "model.context_tokens": 200}, "generation.max_tokens is 200"),
    ],
)
def test_a_wrong_update_raises_and_changes_nothing(file, values, message):
    settings = live(file)
    before = settings.snapshot
    with pytest.raises(ConfigError) as raised:
        settings.update(values)
    assert message in str(raised.value)
    assert settings.snapshot is before


def test_a_persisted_update_is_written_beside_the_comments_and_comes_from_the_file_then(file):
    settings = live(file)
    settings.update({"rag.top_k": 8, "voice.language": "es"}, persist=True)
    assert file.read_text() == '# mine\n[rag]\ntop_k = 8 # three\n\n[voice]\nlanguage = "es"\n'
    assert settings.loaded.place("rag.top_k") == f"{file}:3"
    assert settings.generation == 2
    settings.revert()
    assert settings.snapshot.settings.rag.top_k == 8


def test_a_persisted_update_that_a_variable_would_undo_stays_at_runtime(file):
    settings = live(file, environ={"CAPIBARA_RAG__TOP_K": "5"})
    settings.update({"rag.top_k": 8}, persist=True)
    assert "top_k = 8" in file.read_text()
    assert settings.snapshot.settings.rag.top_k == 8
    assert settings.loaded.origins["rag.top_k"].kind == "runtime"


def test_an_update_that_cannot_be_persisted_is_undone(tmp_path):
    settings = live(tmp_path / "capibara.toml")
    with pytest.raises(ConfigError, match="these settings come from no file"):
        settings.update({"rag.top_k": 8}, persist=True)
    assert settings.snapshot.settings.rag.top_k == 10
    with pytest.raises(ConfigError, match="cannot be written"):
        settings.update({"rag.top_k": 8}, persist=tmp_path / "nowhere" / "capibara.toml")
    assert settings.snapshot.settings.rag.top_k == 10


def test_a_rollback_serves_an_earlier_generation_until_a_file_changes(file):
    settings = live(file)
    write(file, "[rag]\ntop_k = 4\n")
    settings.reload()
    write(file, "[rag]\ntop_k = 5\n")
    settings.reload()
    result = settings.rollback(1)
    assert (result.generation, settings.snapshot.settings.rag.top_k) == (4, 3)
    settings._files_changed()
    assert settings.snapshot.settings.rag.top_k == 3
    settings.update({"rag.alpha": 0.2})
    assert settings.snapshot.settings.rag.top_k == 3
    write(file, "[rag]\ntop_k = 6\n")
    settings._files_changed()
    assert settings.snapshot.settings.rag.top_k == 6
    assert [record.trigger for record in settings.history()] == [
        "start",
        "reload",
        "reload",
        "rollback to 1",
        "update",
        "file",
    ]


def test_a_rollback_reaches_back_to_before_there_was_a_file(tmp_path):
    file = tmp_path / "capibara.toml"
    settings = live(file)
    write(file, "[rag]\ntop_k = 4\n")
    settings.reload()
    settings.rollback(1)
    assert settings.snapshot.settings.rag.top_k == 10


def test_a_text_file_named_at_runtime_is_taken_up_when_it_is_saved(file, tmp_path):
    persona = tmp_path / "persona.md"
    write(persona, "one")
    settings = live(file)
    settings.update({"assistant.persona": str(persona)})
    assert persona in settings.watched
    write(persona, "two")
    settings._files_changed()
    assert settings.snapshot.settings.assistant.persona == "two"
    persona.unlink()
    settings._files_changed()
    assert not settings.last_result.ok
    assert settings.snapshot.settings.assistant.persona == "two"


def test_a_persisted_update_of_a_file_that_is_broken_elsewhere_changes_nothing(file):
    settings = live(file)
    write(file, "[rag]\ntop_k = 3\nrrf_k = 0\n")
    with pytest.raises(ConfigError, match="rrf_k"):
        settings.update({"rag.alpha": 0.2}, persist=True)
    assert (settings.generation, settings.snapshot.settings.rag.alpha) == (1, 0.5)
    assert "alpha" not in file.read_text()


@pytest.mark.parametrize("call", ["revert", "on_change"])
def test_a_mistaken_key_is_named_with_the_one_that_was_meant(file, call):
    settings = live(file)
    with pytest.raises(ConfigError, match=r"rag\.topk.*rag\.top_k"):
        settings.revert("rag.topk") if call == "revert" else settings.on_change(["rag.topk"], print)


def test_a_rollback_brings_back_what_was_set_at_runtime_then(file):
    settings = live(file)
    settings.update({"rag.alpha": 0.2})
    settings.revert()
    settings.rollback(2)
    assert settings.snapshot.settings.rag.alpha == 0.2
    assert settings.loaded.origins["rag.alpha"].kind == "runtime"


def test_a_reload_by_hand_ends_a_rollback(file):
    settings = live(file)
    write(file, "[rag]\ntop_k = 4\n")
    settings.reload()
    settings.rollback(1)
    settings.reload()
    assert settings.snapshot.settings.rag.top_k == 4


def test_a_generation_that_never_was_cannot_be_gone_back_to(file):
    with pytest.raises(LookupError, match="there is no generation 9 to go back to: 1 to 1 are kept"):
        live(file).rollback(9)


VARIANTS = "[variants.b]\nshare = {share}\n[variants.b.set.rag]\ntop_k = 9\n"


def test_a_variant_has_its_own_settings_and_parts_and_shares_the_rest(file):
    own, shared = Recorder("own"), Recorder("shared", keys=("rag.alpha",))
    write(file, "[rag]\ntop_k = 3\n" + VARIANTS.format(share=0.5))
    settings = live(file, own, shared)
    with settings.pin(variant="b") as b, settings.pin(variant="default") as default:
        assert (b.settings.rag.top_k, default.settings.rag.top_k) == (9, 3)
        assert (b.parts["own"].top_k, default.parts["own"].top_k) == (9, 3)
        assert b.parts["shared"] is default.parts["shared"]
    assert (len(own.parts), len(shared.parts)) == (2, 1)


def test_a_part_of_one_variant_becomes_that_of_another_without_being_made_again(file):
    recorder = Recorder()
    write(file, "[rag]\ntop_k = 3\n" + VARIANTS.format(share=0.5))
    settings = live(file, recorder)
    write(file, "[rag]\ntop_k = 9\n")
    settings.reload()
    assert len(recorder.parts) == 2
    assert [part.top_k for part in recorder.open] == [9]


def test_a_conversation_stays_with_its_variant_and_the_shares_are_kept(file):
    write(file, VARIANTS.format(share=0.25))
    settings = live(file)
    chosen = [settings.latest(f"conversation {i}").variant for i in range(2000)]
    assert chosen == [settings.latest(f"conversation {i}").variant for i in range(2000)]
    assert 0.2 < chosen.count("b") / 2000 < 0.3


def test_requests_of_one_conversation_are_split_where_the_settings_say_so(file):
    write(file, '[assistant]\nvariants_by = "request"\n' + VARIANTS.format(share=0.5))
    settings = live(file)

    def drawn() -> str:
        with settings.pin("one conversation") as snapshot:
            return snapshot.variant

    assert {drawn() for _ in range(200)} == {"default", "b"}
    assert len({id(settings.latest("one conversation")) for _ in range(20)}) == 1


@pytest.mark.parametrize(("share", "expected"), [(0.0, {"default"}), (1.0, {"b"})])
def test_a_share_of_nothing_or_everything_is_exact(file, share, expected):
    write(file, VARIANTS.format(share=share))
    variants = live(file).snapshot.settings.variants
    assert {assign(variants, str(unit)) for unit in range(500)} == expected


def test_an_unknown_variant_is_named_with_those_there_are(file):
    with pytest.raises(UnknownVariant, match="no variant 'c'; they have default"), live(file).pin(variant="c"):
        pass


def test_a_change_within_a_variant_is_a_change_like_any_other(file):
    write(file, VARIANTS.format(share=0.5))
    settings = live(file)
    write(file, VARIANTS.format(share=0.5).replace("9", "8"))
    [change] = settings.reload().changes
    assert (change.key, change.old, change.new) == ("variants.b.set.rag.top_k", 9, 8)
