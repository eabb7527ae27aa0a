"""One process per data folder: a lock the operating system releases even when the owner is killed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .errors import DataFolderLocked, StoreError

_PID_BYTES = 20
_WINDOWS_LOCK_AT = 1 << 30  # beyond the pid, which others must be able to read


class FolderLock:
    """Holds ``<folder>/lock``, which names the owner's process id. Not inherited by new programs."""

    def __init__(self, folder: Path) -> None:
        """Take the lock, or fail at once.

        Raises:
            DataFolderLocked: another process, or another `Library` of this one, has it.
            StoreError: the lock file cannot be written.
        """
        self.path = folder / "lock"
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        except OSError as error:
            raise StoreError(f"{folder} cannot be written ({error.strerror}): use another data folder") from error
        try:
            _acquire(self._descriptor)
        except OSError as error:
            owner = os.read(self._descriptor, _PID_BYTES).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            process = f"process {owner}" if owner else "another process"
            raise DataFolderLocked(
                f"{folder} is in use by {process}: wait for it to end, stop it, or use another data folder"
            ) from error
        try:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, str(os.getpid()).encode("ascii"))
        except OSError as error:
            os.close(self._descriptor)
            raise StoreError(f"{self.path} cannot be written ({error.strerror}): use another data folder") from error

    def release(self) -> None:
        """Let others have the folder; the file stays, for removing it would let two owners in."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


if sys.platform == "win32":
    import msvcrt

    def _acquire(descriptor: int) -> None:
        os.lseek(descriptor, _WINDOWS_LOCK_AT, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _acquire(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
