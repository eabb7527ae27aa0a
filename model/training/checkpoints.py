"""Keeps the state of a run on disk: the last two checkpoints and the best one, written in the background by orbax."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np
from jaxtyping import PyTree

from .errors import CheckpointDamaged, CheckpointMismatch

_log = logging.getLogger(__name__)
_LAST = 2
_LEFT_BEHIND = ("*.orbax-checkpoint-tmp*", "*.deleted")
_SPARE_BYTES = 1 << 20
_TRIES = 10
"""At removing what a failed write left: parts of it that did not fail may still be written."""
_SECONDS_BETWEEN_TRIES = 0.05

Check = Callable[[Mapping[str, Any]], None]
"""Refuses the record of another run."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One checkpoint: arrays as a tree of NumPy arrays, and what JSON can hold."""

    step: int
    arrays: PyTree
    record: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one run, in ``folder/<step>``.

    A checkpoint stands there whole or not at all: orbax writes beside it and renames. The arrays are kept as a flat
    list with the names of the leaves, so that what is read does not depend on how orbax maps a tree to files.
    A checkpoint that cannot be written costs a warning, not the run: the earlier ones stay as they are.
    """

    def __init__(self, folder: Path) -> None:
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self.folder = folder
        self._best: int | None = None
        self._next_best: int | None = None
        self._writing: int | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._remove_left_behind()
        self._writer = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())

    def __enter__(self) -> Self:
        logging.getLogger("absl").addFilter(_without_traceback)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.wait()
        self._writer.close()
        self._remove_left_behind()
        logging.getLogger("absl").removeFilter(_without_traceback)

    def steps(self) -> list[int]:
        """The updates after which a whole checkpoint stands, in order."""
        return sorted(int(path.name) for path in self.folder.glob("*") if path.name.isdigit())

    def save(self, snapshot: Snapshot, *, best: int | None) -> None:
        """Waits for an earlier write, then starts to write ``snapshot``.

        The checkpoint after ``best`` updates has to stay, once it stands; until then the best one before it does.
        """
        self._next_best = best
        self.wait()
        if snapshot.step in self.steps():
            return
        self._writing = snapshot.step
        try:
            self._begin(snapshot)
        except Exception as error:  # noqa: BLE001 - orbax raises what its storage raises: ValueError, OSError, RuntimeError
            self._failed(error)

    def _begin(self, snapshot: Snapshot) -> None:
        leaves = jax.tree_util.tree_flatten_with_path(snapshot.arrays)[0]
        arrays = {f"{place:06d}": np.asarray(leaf) for place, (_, leaf) in enumerate(leaves)}
        needed = sum(array.nbytes for array in arrays.values()) + _SPARE_BYTES
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise OSError(errno.ENOSPC, f"it takes {needed:,} bytes, and {free:,} are free")
        record = {"leaves": [_leaf_name(path, leaf) for path, leaf in leaves], "run": dict(snapshot.record)}
        args = self._ocp.args
        self._writer.save(
            self.folder.absolute() / str(snapshot.step),
            args=args.Composite(arrays=args.PyTreeSave(arrays), record=args.JsonSave(record)),
        )

    def wait(self) -> None:
        """Waits for the checkpoint that is being written, then removes those that need not stay."""
        try:
            self._writer.wait_until_finished()
        except Exception as error:  # noqa: BLE001 - as in `save`
            self._failed(error)
        self._writing = None
        self._prune()

    def keep(self, best: int) -> None:
        """The checkpoint after ``best`` updates has to stay."""
        self._best = self._next_best = best

    def _prune(self) -> None:
        steps = self.steps()
        if self._next_best in steps:
            self._best = self._next_best
        for step in steps[:-_LAST]:
            if step != self._best:
                self._remove(step)

    def _remove(self, step: int) -> None:
        try:
            # Renamed first: a process killed while it deletes must not leave half a checkpoint under its name.
            shutil.rmtree((self.folder / str(step)).rename(self.folder / f"{step}.deleted"))
        except OSError as error:
            _log.warning("the old checkpoint %s stays (%s): delete it by hand", self.folder / str(step), error)

    def latest(self, like: PyTree, check: Check | None = None) -> Snapshot | None:
        """The last checkpoint that can be read; `None` if there is none.

        ``check`` sees its record before its arrays are compared: which run it is of tells more than which weights.

        Raises:
            CheckpointDamaged: there are some, but none can be read.
            CheckpointMismatch: its arrays are not those of ``like``, by name and shape; or from ``check``.
        """
        damaged: list[int] = []
        for step in reversed(self.steps()):
            try:
                found = self.read(step, like, check)
            except CheckpointDamaged as error:
                _log.warning("%s; the one before is tried", error)
                damaged.append(step)
            else:
                self._set_aside(damaged)
                return found
        if damaged:
            raise CheckpointDamaged(f"no checkpoint in {self.folder} can be read: delete the folder to start anew")
        return None

    def read(self, step: int, like: PyTree, check: Check | None = None) -> Snapshot:
        """The checkpoint after ``step`` updates, in the structure of ``like``.

        Raises:
            CheckpointDamaged, CheckpointMismatch: as `latest`.
        """
        path = self.folder.absolute() / str(step)
        args = self._ocp.args
        record = self._restored(path, args.Composite(record=args.JsonRestore())).record
        if check is not None:
            check(record["run"])
        leaves, structure = jax.tree_util.tree_flatten_with_path(like)
        names = [_leaf_name(path, leaf) for path, leaf in leaves]
        if names != record["leaves"]:
            raise CheckpointMismatch(
                f"the checkpoint {path} holds other weights: {_difference(record['leaves'], names)}: "
                "name another folder, or delete that one"
            )
        numbers = [f"{place:06d}" for place in range(len(names))]
        as_numpy = {number: self._ocp.RestoreArgs(restore_type=np.ndarray) for number in numbers}
        found = self._restored(path, args.Composite(arrays=args.PyTreeRestore(restore_args=as_numpy))).arrays
        return Snapshot(step, structure.unflatten([found[number] for number in numbers]), record["run"])

    def read_or_set_aside(self, step: int, like: PyTree) -> Snapshot | None:
        """As `read`; `None`, with a warning, where the checkpoint is damaged: it is one no more.

        Raises:
            CheckpointMismatch: as `latest`.
        """
        try:
            return self.read(step, like)
        except CheckpointDamaged as error:
            _log.warning("%s; the run goes on without it", error)
            self._set_aside([step])
            return None

    def _restored(self, path: Path, args: Any) -> Any:
        try:
            return self._writer.restore(path, args=args)
        except Exception as error:
            raise CheckpointDamaged(f"the checkpoint {path} cannot be read ({_reason(error)})") from error

    def _set_aside(self, damaged: list[int]) -> None:
        """Makes room for the checkpoints that the resumed run writes after as many updates."""
        for step in damaged:
            aside = self.folder / f"{step}.damaged"
            shutil.rmtree(aside, ignore_errors=True)
            (self.folder / str(step)).rename(aside)

    def _failed(self, error: Exception) -> None:
        if self._writing is not None:
            self._warn(self._writing, _reason(error))
        self._writing = None
        self._remove_left_behind()

    def _warn(self, step: int, reason: str) -> None:
        kept = f"the one after update {self.steps()[-1]} stays" if self.steps() else "there is no earlier one"
        _log.warning(
            "the checkpoint after update %d is not written (%s); %s, and the training goes on", step, reason, kept
        )

    def _remove_left_behind(self) -> None:
        for path in [path for pattern in _LEFT_BEHIND for path in self.folder.glob(pattern)]:
            for _ in range(_TRIES):
                shutil.rmtree(path, ignore_errors=True)
                if not path.exists():
                    break
                time.sleep(_SECONDS_BETWEEN_TRIES)


def _leaf_name(path: tuple[Any, ...], leaf: Any) -> str:
    return f"{jax.tree_util.keystr(path)} {leaf.dtype}{list(leaf.shape)}"


def _difference(there: list[str], here: list[str]) -> str:
    only_there, only_here = sorted(set(there) - set(here)), sorted(set(here) - set(there))
    if not only_there and not only_here:
        return "the same leaves in another order"
    return f"it has {(only_there or ['no other'])[0]}, the run {(only_here or ['no other'])[0]}"


def _reason(error: Exception) -> str:
    """One line: the operating system's word where there is one (tensorstore buries it), or the start of the message."""
    buried = re.search(r"os_error_code='(\d+)'", str(error))
    if buried:
        return os.strerror(int(buried[1]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _without_traceback(record: logging.LogRecord) -> bool:
    """Drops orbax's pages on a write that failed: the run warns of it in one line."""
    return not (record.exc_info and "checkpoint" in record.pathname)
