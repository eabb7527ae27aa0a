"""A change of settings happens in whole or not at all, and requests see one generation from beginning to end."""

from __future__ import annotations

import gc
import threading

import pytest

from capibara.config.errors import ConfigError

from .parts import FIRST, SECOND, Faults, Recorder, live, write


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
        assert settings.generations_in_use == 1
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
            assert settings.generations_in_use == 2
        assert first.parts["first"].retired == 0
        assert first.settings.rag.top_k == 3
        with settings.pin() as second:
            assert second.parts["first"].top_k == 4
    assert first.parts["first"].retired == 1
    assert settings.generations_in_use == 1


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


def test_a_generation_that_cannot_start_raises_and_leaves_no_part_behind(file):
    recorder, broken = Recorder("sound"), Recorder("broken", objects_to={3})
    with pytest.raises(ConfigError, match=rf"{file}:2: rag\.top_k: cannot be made"):
        live(file, recorder, broken)
    assert recorder.open == []


def test_a_request_that_the_garbage_collector_ends_blocks_nobody(file):
    settings = live(file, Recorder())

    class Client:
        """A cycle that holds a request half-way."""

        def __init__(self):
            self.me, self.request = self, self.begin()
            next(self.request)

        def begin(self):
            with settings.pin() as snapshot:
                yield snapshot

    def work():
        for number in range(400):
            Client()
            write(file, f"[rag]\ntop_k = {number % 7 + 1}\n")
            settings.reload()

    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)  # collects within whatever line is running
    try:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
    finally:
        gc.set_threshold(*before)
    gc.collect()
    with settings.pin():
        pass
    assert settings.generations_in_use == 1


def test_an_emptied_file_changes_nothing(file):
    settings = live(file)
    file.write_text("")
    result = settings.reload()
    assert "is empty" in str(result.problems[0])
    assert settings.snapshot.settings.rag.top_k == 3
    write(file, "# defaults\n")
    assert settings.reload().result == "applied"
    assert settings.snapshot.settings.rag.top_k == 10


def test_parts_that_are_the_same_object_are_retired_by_whoever_made_them(file):
    class Nothing(Recorder):
        def prepare(self, settings, before):
            self.made = getattr(self, "made", 0) + 1

        def retire(self, part):
            self.gone = getattr(self, "gone", 0) + 1

    one, two = Nothing("one"), Nothing("two")
    settings = live(file, one, two)
    write(file, SECOND)
    settings.reload()
    settings.close()
    assert (one.made, two.made) == (2, 2)
    assert one.gone == two.gone


def test_a_part_that_is_given_back_is_not_retired_when_the_change_fails(file):
    class Same(Recorder):
        def prepare(self, settings, before):
            return before or super().prepare(settings, before)

    same = Same("same")
    settings = live(file, same, Recorder("broken", objects_to={4}))
    write(file, SECOND)
    assert settings.reload().result == "failed"
    assert same.parts[0].retired == 0


def test_nothing_changes_after_the_end(file):
    recorder = Recorder()
    settings = live(file, recorder)
    settings.close()
    write(file, SECOND)
    assert settings.reload().result == "failed"
    assert len(recorder.parts) == 1
    assert recorder.parts[0].retired == 1


def test_a_file_that_was_read_last_stays_watched_whatever_is_in_use(file):
    settings = live(file)
    write(file.parent / "b.toml", "[rag\n")
    write(file, 'extends = "./b.toml"\n')
    assert settings.reload().result == "failed"
    settings.update({"rag.alpha": 0.2})
    assert file.parent / "b.toml" in settings.watched
    settings.rollback(1)
    assert file.parent / "b.toml" in settings.watched


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
    assert settings.generations_in_use == 1
