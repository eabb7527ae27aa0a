"""Settings of JAX itself: threads, and the cache of compiled steps. Applied when a model is loaded, never at import."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

import jax

from .errors import DeviceNotFound

_THREADS = "NPROC"


def prepare_device(cache: Path, threads: int | None) -> None:
    """Let JAX keep what it compiles under ``cache`` and, unless it is already running, use ``threads`` threads.

    A cache folder that the surrounding program has chosen stays. Compiled code is kept apart by processor and
    version: XLA runs foreign code with no more than a warning.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache / "xla" / machine()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    before = os.environ.get(_THREADS)
    if threads is not None:
        os.environ[_THREADS] = str(threads)  # XLA reads its number of threads here, once
    try:
        jax.devices()
    finally:
        if threads is not None:
            os.environ.pop(_THREADS)
            if before is not None:
                os.environ[_THREADS] = before


def devices_of(kind: str) -> list[jax.Device]:  # pyright: ignore[reportInvalidTypeForm]
    """Those of ``kind`` (auto, cpu, gpu or tpu), at least one; auto: of the kind that JAX prefers.

    Raises:
        DeviceNotFound: there is none; the message names those that are there.
    """
    if kind == "auto":
        return jax.devices()
    try:
        return jax.devices(kind)
    except RuntimeError as error:
        there = ", ".join(sorted({device.platform for device in jax.devices()}))
        raise DeviceNotFound(f"JAX finds no {kind} here, only {there}: choose one of these, or auto") from error


def machine() -> str:
    """Tells processors, and versions of JAX, apart."""
    processors = Path("/proc/cpuinfo")
    features = ""
    if processors.exists():
        lines = processors.read_text().splitlines()
        features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    seen = f"{platform.machine()} {platform.processor()} {features} {jax.__version__}"
    return hashlib.sha256(seen.encode()).hexdigest()[:16]
