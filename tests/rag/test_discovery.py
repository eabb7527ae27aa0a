"""Walking folders: order, links, hidden files, things that cannot be read."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from capibara.rag.discovery import discover


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "library"
    for name in ("b.txt", "a.md", "sub/c.CSV", "sub/deep/d.html", ".hidden/e.txt", ".f.txt", "g.exe"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")
    return root


def names(found, root):
    return [str(path.relative_to(root)) for path in found.files]


def reasons(found):
    return {path.name: reason for path, reason in found.skipped}


def test_files_come_sorted_and_once_although_named_twice(tree):
    found = discover([tree, tree / "sub", tree / "b.txt"], follow_symlinks=False)
    assert names(found, tree) == ["a.md", "b.txt", "sub/c.CSV", "sub/deep/d.html"]
    assert not found.failed


def test_hidden_and_unsupported_files_are_skipped_with_the_reason(tree):
    skipped = reasons(discover([tree], follow_symlinks=False))
    assert skipped[".hidden"] == skipped[".f.txt"] == "hidden"
    assert ".exe is not supported" in skipped["g.exe"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing.txt", "no such file or folder"), ("g.exe", "not supported (supported: .txt")],
)
def test_what_was_named_and_cannot_be_read_has_failed(tree, name, reason):
    found = discover([tree / name, tree / "b.txt"], follow_symlinks=False)
    assert [path.name for path, _ in found.failed] == [name]
    assert reason in found.failed[0][1]
    assert names(found, tree) == ["b.txt"]


def test_no_path_finds_nothing():
    found = discover([], follow_symlinks=False)
    assert (found.files, found.skipped, found.failed) == ([], [], [])


def test_an_empty_folder_holds_nothing(tmp_path):
    found = discover([tmp_path], follow_symlinks=False)
    assert (found.files, found.skipped, found.failed) == ([], [], [])


@pytest.mark.parametrize("follow", [False, True])
def test_link_loops_end_and_are_counted(tree, follow):
    (tree / "sub" / "up").symlink_to(tree, target_is_directory=True)
    (tree / "self.txt").symlink_to(tree / "self.txt")
    found = discover([tree], follow_symlinks=follow)
    assert reasons(found)["up"] == "symbolic link loop"
    assert reasons(found)["self.txt"] == "symbolic link loop"
    assert len(found.files) == 4


@pytest.mark.parametrize("follow", [False, True])
def test_links_out_of_the_folder_are_never_followed(tree, tmp_path, follow):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "more.txt").write_text("more")
    (tree / "link.txt").symlink_to(tmp_path / "secret.txt")
    (tree / "folder").symlink_to(tmp_path / "outside", target_is_directory=True)
    (tree / "nothing.txt").symlink_to(tmp_path / "gone.txt")
    found = discover([tree], follow_symlinks=follow)
    assert reasons(found)["link.txt"] == reasons(found)["folder"] == "symbolic link out of the folder"
    assert reasons(found)["nothing.txt"] == "symbolic link to nothing"
    assert len(found.files) == 4


def test_links_inside_the_folder_are_followed_on_request_and_give_each_file_once(tree):
    (tree / "z-link").symlink_to(tree / "sub", target_is_directory=True)
    off, on = discover([tree], follow_symlinks=False), discover([tree], follow_symlinks=True)
    assert "follow_symlinks" in reasons(off)["z-link"]
    assert names(on, tree) == names(off, tree)


def test_a_link_given_by_name_is_read(tree, tmp_path):
    (tmp_path / "alias.txt").symlink_to(tree / "b.txt")
    assert [path.name for path in discover([tmp_path / "alias.txt"], follow_symlinks=False).files] == ["alias.txt"]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the file system refuses such names")
@pytest.mark.parametrize("kind", ["file", "folder", "named"])
def test_a_name_that_is_not_utf8_is_reported_and_the_rest_is_found(tree, kind):
    odd = Path(os.fsdecode(os.fsencode(tree) + b"/caf\xe9.txt"))
    if kind == "folder":
        odd.mkdir()
        (odd / "inside.txt").write_text("text")
    else:
        odd.write_text("text")
    found = discover([odd, tree / "b.txt"] if kind == "named" else [tree], follow_symlinks=False)
    assert found.failed == [(odd, "its name is not valid UTF-8: rename it")]
    assert len(found.files) == (1 if kind == "named" else 4)


def test_pipes_are_skipped(tree):
    os.mkfifo(tree / "pipe.txt")
    assert reasons(discover([tree], follow_symlinks=False))["pipe.txt"] == "not a regular file"


def test_an_unreadable_folder_is_skipped_with_the_reason(tree):
    (tree / "sub").chmod(0)
    temporary = Path(tempfile.gettempdir())
    for folder in (tree, *(parent for parent in tree.parents if temporary in parent.parents)):
        folder.chmod(folder.stat().st_mode | 0o055)
    root = os.geteuid() == 0  # who may read everything
    if root:
        os.seteuid(65534)
    try:
        found = discover([tree], follow_symlinks=False)
    finally:
        if root:
            os.seteuid(0)
        (tree / "sub").chmod(0o755)
    assert reasons(found)["sub"] == "not readable: permission denied"
