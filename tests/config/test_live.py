"""A change of settings happens in whole or not at all, and requests see one generation from beginning to end."""

from __future__ import annotations

import logging
import threading

import pytest

from capibara.config.errors import ConfigError

from .parts import Faults, Recorder, live, write

FIRST, SECOND = "[rag]\ntop_k = 3\n", "[rag]\ntop_k = 4\n"


@pytest.fixture
def file(tmp_path):
    write(tmp_path / "capibara.toml", FIRST)
    return tmp_path / "capibara.toml"


def steps_of_a_reload(file) -> list[str]:
    faults = Faults()
    settings = live(file, Recorder("one"), Recorder("two"), trace=faults)
    faults.steps.clear()
    write(file, SECOND)
    assert settings.reload().result == "applied"
    write(file, FIRST)
    return list(dict.fromkeys(faults.steps))


def test_the_steps_of_a_change_are_these(file):
    assert steps_of_a_reload(file) == [
        "read",
        "resolve",
        "compare",
        "check one",
        "check two",
        "prepare one",
        "prepare two",
        "swap",
    ]


def test_a_fault_at_any_step_leaves_the_old_generation_serving_and_the_next_good_save_recovers(file):
    for step in steps_of_a_reload(file):
        one, two, faults = Recorder("one"), Recorder("two"), Faults()
        settings = live(file, one, two, trace=faults)
        before = settings.snapshot
        faults.at = step
        write(file, SECOND)
        result = settings.reload()
        assert result.result == "failed", step
        assert f"fault at {step}" in str(result.problems[0])
        assert settings.snapshot is before
        assert settings.loaded.settings.rag.top_k == 3
        assert settings.living == 1
        assert [part.top_k for part in (*one.open, *two.open)] == [3, 3], step
        faults.at = None
        assert settings.reload().result == "applied"
        assert settings.snapshot.settings.rag.top_k == 4
        assert [part.top_k for part in (*one.open, *two.open)] == [4, 4]
        write(file, FIRST)


@pytest.mark.parametrize("step", ["activate", "retire", "listener"])
def test_a_fault_after_the_swap_leaves_the_new_generation_serving_in_whole(file, step, caplog):
    one, two = Recorder("one"), Recorder("two")
    settings = live(file, one, two)

    def fail(*_):
        raise OSError("fault")

    if step == "listener":
        settings.on_change(["rag"], fail)
    else:
        setattr(one, step, fail)
    write(file, SECOND)
    assert settings.reload().result == "applied"
    assert {part.top_k for part in settings.snapshot.parts.values()} == {4}
    assert two.open[0].active
    assert "fault" in caplog.text


def test_a_part_that_no_changed_setting_concerns_is_carried_over(file):
    recorder = Recorder()
    settings = live(file, recorder)
    write(file, FIRST + "alpha = 0.1\n")
    settings.reload()
    assert settings.generation == 2
    assert len(recorder.parts) == 1
    assert recorder.open == recorder.parts


def test_an_old_part_is_retired_once_and_only_after_the_last_request_that_saw_it(file):
    recorder = Recorder()
    settings = live(file, recorder)
    with settings.pin() as first:
        with settings.pin() as also_first:
            write(file, SECOND)
            settings.reload()
            assert also_first.parts["first"].retired == 0
            assert settings.living == 2
        assert first.parts["first"].retired == 0
        assert first.settings.rag.top_k == 3
        with settings.pin() as second:
            assert second.parts["first"].top_k == 4
    assert first.parts["first"].retired == 1
    assert settings.living == 1


def test_what_a_subscriber_objects_to_is_told_at_the_line_where_it_was_set(file):
    settings = live(file, Recorder(objects_to={9}, name="loader"), Recorder(checks={8}, name="checker"))
    write(file, "\n[rag]\ntop_k = 9\n")
    assert str(settings.reload().problems[0]) == f"{file}:3: rag.top_k: cannot be made"
    write(file, "\n\n[rag]\ntop_k = 8\n")
    assert str(settings.reload().problems[0]) == f"{file}:4: rag.top_k: too many for this machine: lower it"
    assert settings.generation == 1


def test_a_setting_that_needs_a_restart_refuses_the_whole_change(file):
    settings = live(file)
    write(file, '[rag]\ntop_k = 5\nsparse_index = "fts5"\n')
    result = settings.reload()
    assert str(result.problems[0]).startswith(f"{file}:3: rag.sparse_index can only change with a restart")
    assert settings.snapshot.settings.rag.top_k == 3


def test_comments_and_order_make_no_new_generation(file):
    settings = live(file)
    write(file, "# why three\n\n[rag]\ntop_k = 3 # three\n")
    assert settings.reload().result == "unchanged"
    assert settings.generation == 1
    assert settings.loaded.place("rag.top_k") == f"{file}:4"


def test_a_file_that_vanished_changes_nothing_until_it_is_back(file):
    settings = live(file)
    file.unlink()
    result = settings.reload()
    assert result.result == "failed"
    assert "has vanished" in str(result.problems[0])
    assert settings.snapshot.settings.rag.top_k == 3
    write(file, SECOND)
    assert settings.reload().result == "applied"


def test_a_file_that_appears_later_is_taken_up(tmp_path):
    file = tmp_path / "capibara.toml"
    settings = live(file)
    assert file in settings.watched
    write(file, SECOND)
    assert settings.reload().result == "applied"
    assert settings.snapshot.settings.rag.top_k == 4


def test_a_missing_base_is_watched_so_that_it_can_recover(file):
    settings = live(file)
    write(file, 'extends = "./base.toml"\n' + FIRST)
    assert settings.reload().result == "failed"
    assert file.parent / "base.toml" in settings.watched
    write(file.parent / "base.toml", "[rag]\nalpha = 0.1\n")
    assert settings.reload().result == "applied"
    assert settings.snapshot.settings.rag.alpha == 0.1


def test_chunking_tells_that_documents_must_be_read_again(file):
    settings = live(file)
    write(file, "[rag]\ntop_k = 3\nchunk_tokens = 64\n")
    [advice] = settings.reload().advice
    assert "rag.chunk_tokens" in advice
    assert "--reindex" in advice


def test_changes_are_logged_with_their_origin_and_secrets_masked(file, caplog):
    caplog.set_level(logging.INFO, "capibara")
    settings = live(file)
    write(file, SECOND + '[keys]\nhub = "hf_s3cret"\n')
    settings.reload()
    assert f"rag.top_k 3 -> 4 ({file}:2)" in caplog.text
    assert "keys.hub none" in caplog.text
    assert "s3cret" not in caplog.text
    assert "s3cret" not in str(settings.history()[-1].changes[1])


def test_listeners_are_told_of_the_keys_they_asked_for(file):
    settings = live(file)
    told: dict[str, list[str]] = {"alpha": [], "rag": [], "voice": [], "all": []}
    settings.on_change(["rag.alpha"], lambda changes: told["alpha"].extend(c.key for c in changes))
    settings.on_change(["rag"], lambda changes: told["rag"].extend(c.key for c in changes))
    settings.on_change(["voice"], lambda changes: told["voice"].extend(c.key for c in changes))
    end = settings.on_change([], lambda changes: told["all"].extend(f"{c.key} {c.old} {c.new}" for c in changes))
    write(file, SECOND)
    settings.reload()
    end()
    write(file, FIRST)
    settings.reload()
    assert told == {"alpha": [], "rag": ["rag.top_k"] * 2, "voice": [], "all": ["rag.top_k 3 4"]}


def test_metrics_count_results_and_tell_the_generation_and_its_hash(file):
    settings = live(file)
    write(file, SECOND)
    settings.reload()
    settings.reload()
    write(file, "[rag]\ntop_k = 'x'\n")
    settings.reload()
    text = settings.metrics.exposition()
    for line in (
        "capibara_config_last_reload_successful 0.0",
        "capibara_config_generation 2.0",
        'capibara_config_reloads_total{result="applied"} 1.0',
        'capibara_config_reloads_total{result="unchanged"} 1.0',
        'capibara_config_reloads_total{result="failed"} 1.0',
        f'capibara_config_info{{hash="{settings.history()[-1].hash}"}} 1.0',
    ):
        assert line in text.splitlines()
    assert "capibara_config_last_reload_success_timestamp_seconds" in text


def test_a_generation_that_cannot_start_raises_and_leaves_no_part_behind(file):
    recorder, broken = Recorder("sound"), Recorder("broken", objects_to={3})
    with pytest.raises(ConfigError, match=rf"{file}:2: rag\.top_k: cannot be made"):
        live(file, recorder, broken)
    assert recorder.open == []


def test_requests_in_flight_during_many_changes_never_see_two_generations(file):
    settings = live(file, Recorder("one"), Recorder("two"))
    stop, mixed, seen = threading.Event(), [], set()

    def ask() -> None:
        while not stop.is_set():
            with settings.pin() as snapshot:
                values = {snapshot.settings.rag.top_k, *(part.top_k for part in snapshot.parts.values())}
                retired = [part for part in snapshot.parts.values() if part.retired]
                seen.add(snapshot.generation)
                if len(values) != 1 or retired:
                    mixed.append((values, retired))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(60):
        write(file, f"[rag]\ntop_k = {number % 20 + 1}\n")
        settings.reload()
    stop.set()
    for thread in threads:
        thread.join()
    assert mixed == []
    assert len(seen) > 1
    assert settings.living == 1
