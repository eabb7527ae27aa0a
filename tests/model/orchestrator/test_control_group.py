"""What memory control groups leave, in both versions of theirs, as their files say it."""

from __future__ import annotations

import math

import pytest

from capibara.model import memory
from capibara.model.control_group import left_by_control_groups
from capibara.model.memory import available_bytes


@pytest.fixture
def groups(tmp_path):
    """Writes what stands in ``/proc/self/cgroup`` and in the files below a mount, and asks what is left."""

    def left(own: str, files: dict[str, object]) -> float:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            file = tmp_path / "mount" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n")
        return left_by_control_groups(tmp_path / "own", tmp_path / "mount")

    return left


def test_a_limit_leaves_what_is_not_used_of_it(groups):
    assert groups("0::/\n", {"memory.max": 1000, "memory.current": 400}) == 600


def test_pages_of_files_count_as_free(groups):
    stat = "anon 100\ninactive_file 200\nactive_file 50\ninactive_anon 30"
    assert groups("0::/\n", {"memory.max": 1000, "memory.current": 400, "memory.stat": stat}) == 850


def test_in_the_first_version_pages_of_files_are_those_of_all_groups_below(groups):
    stat = "inactive_file 1\nactive_file 2\ntotal_inactive_file 200\ntotal_active_file 50"
    files = {"memory.limit_in_bytes": 1000, "memory.usage_in_bytes": 400, "memory.stat": stat}
    own = "9:name=systemd:/x\n4:hugetlb,memory:/\n2:cpu,cpuacct:/y\n0::/\n"
    assert groups(own, {f"memory/{name}": text for name, text in files.items()}) == 850


@pytest.mark.parametrize(
    ("own", "root", "limit", "used"),
    [
        ("0::/user/app\n", "", "memory.max", "memory.current"),
        ("4:memory:/user/app\n", "memory/", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ],
)
def test_the_process_is_held_to_its_own_group_and_to_those_around_it(groups, own, root, limit, used):
    assert groups(own, {f"{root}user/app/{limit}": 900, f"{root}user/app/{used}": 100}) == 800
    assert groups(own, {f"{root}user/{limit}": 1000, f"{root}user/{used}": 500}) == 500
    assert groups(own, {f"{root}{limit}": 2000, f"{root}{used}": 1900}) == 100
    assert groups(own, {f"{root}other/{limit}": 10, f"{root}other/{used}": 10}) == 100


def test_a_group_that_a_container_does_not_see_is_the_mount_itself(groups):
    assert groups("0::/host/container\n", {"memory.max": 1000, "memory.current": 400}) == 600


def test_a_limit_whose_use_is_not_told_leaves_all_of_it(groups):
    assert groups("0::/\n", {"memory.max": 1000}) == 1000


def test_use_beyond_a_limit_leaves_nothing(groups):
    assert groups("0::/\n", {"memory.max": 1000, "memory.current": 1200}) == 0


@pytest.mark.parametrize("files", [{}, {"memory.max": "max", "memory.current": 5}, {"memory.max": "?"}])
def test_where_no_limit_is_told_there_is_none(groups, files):
    assert groups("0::/\n", files) == math.inf


def test_where_there_are_no_groups_there_is_no_limit(tmp_path):
    assert left_by_control_groups(tmp_path / "none", tmp_path) == math.inf


def test_available_memory_is_what_both_the_machine_and_its_groups_leave(monkeypatch):
    monkeypatch.setattr(memory, "left_by_control_groups", lambda: 12345.0)
    assert available_bytes() == 12345
    monkeypatch.setattr(memory, "left_by_control_groups", lambda: math.inf)
    assert available_bytes() > 12345
