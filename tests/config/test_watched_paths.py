"""What a watcher looks at: files, the entries of folders, what is yet to come, and other paths while it watches."""

from __future__ import annotations

import shutil

from .watching import either_way, in_place


@either_way
def test_entries_of_a_folder_come_change_and_go(settings, how):
    settings.watch(**{**how, "longest": 0.3})
    steps = [
        lambda: (settings.folder / "a.toml").write_text("a"),
        lambda: (settings.folder / "b.toml").write_text("b"),
        lambda: (settings.folder / "a.toml").write_text("c"),
        lambda: (settings.folder / "b.toml").unlink(),
        lambda: shutil.rmtree(settings.folder),
    ]
    for number, step in enumerate(steps, 1):
        step()
        settings.await_calls(number)
        settings.no_call_after(number)


@either_way
def test_entries_of_a_folder_that_is_mounted_by_links_change_together(settings, how):
    def mount(version: str) -> None:
        (settings.folder / version).mkdir()
        for name in ("a.toml", "b.toml"):
            (settings.folder / version / name).write_text(version)
        (settings.folder / "..data_tmp").symlink_to(version)
        (settings.folder / "..data_tmp").replace(settings.folder / "..data")

    mount("..1")
    for name in ("a.toml", "b.toml"):
        (settings.folder / name).symlink_to(f"..data/{name}")
    settings.watch(**how)
    for number in (1, 2):
        mount(f"..{number + 1}")
        shutil.rmtree(settings.folder / f"..{number}")
        settings.await_calls(number)
        settings.no_call_after(number)


@either_way
def test_a_file_in_folders_yet_to_come_is_seen(settings, how):
    settings.paths = [settings.file.parent / "deep" / "er" / "a.toml"]
    settings.watch(**how)
    settings.paths[0].parent.mkdir(parents=True)
    settings.paths[0].write_text("a")
    settings.await_calls(1)


@either_way
def test_renewed_paths_are_watched_and_the_others_no_more(settings, how):
    other = settings.file.parent.parent / "other" / "b.toml"
    other.parent.mkdir()
    other.write_text("b")
    watcher = settings.watch(**how)
    settings.paths = [other]
    watcher.renew()
    settings.no_call_after(0)
    in_place(settings.file, "nobody looks")
    settings.no_call_after(0)
    in_place(other, "changed")
    settings.await_calls(1)


@either_way
def test_paths_can_be_renewed_while_a_change_is_told(settings, how):
    other = settings.file.with_name("other.toml")

    def changed() -> None:
        settings.paths = [settings.file, other]
        settings.watchers[0].renew()
        settings.changed()

    settings.watch(changed, **how)
    in_place(settings.file, "one")
    settings.await_calls(1)
    settings.no_call_after(1)
    in_place(other, "two")
    settings.await_calls(2)
