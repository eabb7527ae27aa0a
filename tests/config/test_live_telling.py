"""What a change of settings tells, and whom: problems at their line, advice, listeners, log and metrics; no secrets."""

from __future__ import annotations

import logging
import threading

import pytest

from .parts import FIRST, SECOND, Recorder, live, write


def test_what_a_subscriber_objects_to_is_told_at_the_line_where_it_was_set(file):
    settings = live(file, Recorder(objects_to={9}, name="loader"), Recorder(checks={8}, name="checker"))
    write(file, "\n[rag]\ntop_k = 9\n")
    assert str(settings.reload().problems[0]) == f"{file}:3: rag.top_k: cannot be made"
    write(file, "\n\n[rag]\ntop_k = 8\n")
    assert str(settings.reload().problems[0]) == f"{file}:4: rag.top_k: too many for this machine: lower it"
    assert settings.generation == 1


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


@pytest.mark.parametrize("source", ["environment", "argument", "update"])
def test_a_saved_value_that_something_else_decides_is_named(file, source, caplog):
    given = {"environ": {"CAPIBARA_RAG__TOP_K": "5"}} if source == "environment" else {}
    given = {"overrides": {"rag.top_k": 5}} if source == "argument" else given
    settings = live(file, **given)
    if source == "update":
        settings.update({"rag.top_k": 5})
    write(file, "[rag]\ntop_k = 4\nalpha = 0.1\n")
    result = settings.reload()
    [advice] = result.advice
    assert advice.startswith(f"{file}:2: rag.top_k has no effect, because ")
    assert advice in caplog.text
    assert [change.key for change in result.changes] == ["rag.alpha"]
    assert settings.reload().advice == ()


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


@pytest.mark.parametrize("method", ["check", "prepare"])
def test_an_unexpected_fault_of_a_subscriber_is_told_under_its_name(file, method):
    recorder = Recorder("reranker")
    settings = live(file, recorder)
    setattr(recorder, method, lambda *_: 1 // 0)
    write(file, SECOND)
    [problem] = settings.reload().problems
    assert str(problem).startswith("reranker: ZeroDivisionError")


def test_a_listener_that_changes_settings_makes_no_other_hear_of_it_too_early(file):
    settings, heard = live(file), []
    settings.on_change(["rag.top_k"], lambda changes: changes[0].new == 5 and settings.update({"rag.top_k": 9}))
    settings.on_change(["rag.top_k"], lambda changes: heard.append((changes[0].old, changes[0].new)))
    settings.update({"rag.top_k": 5})
    assert heard == [(3, 5), (5, 9)]


def test_a_listener_may_wait_for_a_thread_that_asks_for_the_history_or_changes_settings(file):
    settings, done = live(file), []

    def wait(_) -> None:
        if not done:
            done.append(False)
            thread = threading.Thread(target=lambda: (settings.history(), settings.update({"rag.alpha": 0.1})))
            thread.start()
            thread.join(20)
            done[0] = not thread.is_alive()

    settings.on_change([], wait)
    settings.update({"rag.top_k": 5})
    assert done == [True]


def test_what_was_loaded_shows_no_secret(file):
    settings = live(file, overrides={"keys.hub": "hf_s3cret"})
    settings.update({"rag.pdf_passwords": ["s3cret"]})
    shown = repr((settings.loaded, settings._attempts.generations.current, settings.history(), settings.last_result))
    assert "s3cret" not in shown
