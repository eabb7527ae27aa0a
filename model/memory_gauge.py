"""The memory that models lie in: how much of it can be had, how much is in use, and how much a piece of work takes."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from ..config.schema import ModelSettings
from .memory import available_bytes

_STATUS = Path("/proc/self/status")
_EVERY_SECONDS = 0.01


class Accelerator(Protocol):
    """A `jax.Device` that keeps books of its memory."""

    def memory_stats(self) -> dict[str, int]: ...


class MemoryGauge(Protocol):
    """Memory that models share: a device's, or that of several which hold a share of each model.

    Gauges are of the same memory as far as they are of the same devices.
    """

    @property
    def doubled(self) -> bool:
        """Weights stand in it twice at the peak of loading."""
        ...

    @property
    def shares(self) -> int:
        """How many shares a model is split into."""
        ...

    @property
    def devices(self) -> tuple[Hashable, ...]:
        """Each holds one share."""
        ...

    def free(self) -> dict[Hashable, int]:
        """Bytes that can be had on each device."""
        ...

    def available(self) -> int:
        """Bytes that can be had for a model, all its shares together."""
        ...

    def used(self) -> int:
        """Bytes that this process has taken."""
        ...


@dataclass(frozen=True)
class HostMemory:
    """The machine's own memory."""

    doubled: bool = True

    @property
    def shares(self) -> int:
        return 1

    @property
    def devices(self) -> tuple[Hashable, ...]:
        return ("host",)

    def free(self) -> dict[Hashable, int]:
        return {"host": available_bytes()}

    def available(self) -> int:
        return available_bytes()

    def used(self) -> int:
        """Without pages of files, which the system takes back when it wants them."""
        import psutil

        try:
            lines = _STATUS.read_text().splitlines()
        except OSError:
            return psutil.Process().memory_info().rss
        kilobytes = [int(line.split()[1]) for line in lines if line.startswith("RssAnon:")]
        return kilobytes[0] * 1024 if kilobytes else psutil.Process().memory_info().rss


@dataclass(frozen=True)
class DeviceMemory:
    """The memory of an accelerator, as JAX's allocator keeps its books."""

    device: Accelerator
    doubled: bool = False

    @property
    def shares(self) -> int:
        return 1

    @property
    def devices(self) -> tuple[Hashable, ...]:
        return (self.device,)

    def free(self) -> dict[Hashable, int]:
        return {self.device: self.available()}

    def available(self) -> int:
        stats = self.device.memory_stats()
        return stats["bytes_limit"] - stats["bytes_in_use"]

    def used(self) -> int:
        return self.device.memory_stats()["bytes_in_use"]


@dataclass(frozen=True)
class MeshMemory:
    """The memory of accelerators each of which holds one share of a model, told as if one device held all shares."""

    devices: tuple[Accelerator, ...]
    shares: int
    doubled: bool = False

    def free(self) -> dict[Hashable, int]:
        return {device: DeviceMemory(device).available() for device in self.devices}

    def available(self) -> int:
        return self.shares * min(self.free().values())

    def used(self) -> int:
        return self.shares * max(DeviceMemory(device).used() for device in self.devices)


def gauge_for(settings: ModelSettings) -> MemoryGauge:
    """The memory in which the model of ``settings`` will lie.

    Raises:
        DeviceNotFound: the devices asked for are not there.
    """
    from .sharding import TENSOR, placement_for

    placement = placement_for(settings)
    devices = tuple(sorted(placement.whole.device_set, key=lambda device: device.id))
    if not {"bytes_limit", "bytes_in_use"} <= (devices[0].memory_stats() or {}).keys():
        return HostMemory()
    return DeviceMemory(devices[0]) if placement.mesh is None else MeshMemory(devices, placement.mesh.shape[TENSOR])


class MemoryWatch:
    """Measures what a piece of work takes, as a context manager: ``growth`` at its end, ``peak`` so far, in bytes.

    What other threads take and give meanwhile is counted too.
    """

    def __init__(self, gauge: MemoryGauge) -> None:
        self._gauge, self._done = gauge, threading.Event()
        self._thread = threading.Thread(target=self._watch, name="capibara-memory-watch", daemon=True)
        self.growth = self.peak = 0

    def __enter__(self) -> MemoryWatch:
        self._before = self._gauge.used()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        return_freed()
        self.growth = max(0, self._gauge.used() - self._before)
        self.peak = max(self.peak, self.growth)

    def _watch(self) -> None:
        while not self._done.wait(_EVERY_SECONDS):
            self.peak = max(self.peak, self._gauge.used() - self._before)


def return_freed() -> None:
    """glibc keeps freed memory, the more the more threads there are; other systems' allocators give it back."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
