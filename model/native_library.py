"""Compiles the C++ in ``native/`` for this processor when it is first needed, keeps the result, and loads it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import jax.ffi

from .device import machine
from .whole_file import whole_file

SOURCES = Path(__file__).parent / "native"
_MAIN = "decode.cc"
_COMPILERS = ("c++", "g++", "clang++")
_OPTIONS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared", "-pthread")
_PATIENCE = 120.0


class NativeCodeUnavailable(Exception):
    """Why there is none, in one line."""


def load_library(folder: Path, target: Sequence[str] | None = None) -> ctypes.CDLL:
    """The compiled code, from ``folder`` where it is kept, else compiled into it; some seconds, once for a processor.

    ``target`` are the compiler's options for the processor; None: all that this one can do.

    Raises:
        NativeCodeUnavailable: no compiler, or it fails; the folder or what lies in it cannot be used.
    """
    compiler = _compiler()
    options = (*_OPTIONS, *(_own_processor() if target is None else target))
    file = folder / f"{_fingerprint(compiler, options)}.so"
    if not file.is_file():
        _compile(compiler, options, file)
    try:
        return ctypes.CDLL(str(file))
    except OSError as error:
        raise NativeCodeUnavailable(f"{file} cannot be loaded ({error}): delete it") from error


def _compiler() -> list[str]:
    """``CXX``, which may have a launcher and options, or the first one on the path that goes by a usual name."""
    try:
        given = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:
        raise NativeCodeUnavailable(f"CXX cannot be read ({error}): {os.environ['CXX']!r}") from error
    wanted = given[:1] or _COMPILERS
    for name in wanted:
        if found := shutil.which(name):
            return [found, *given[1:]]
    raise NativeCodeUnavailable(f"there is no C++ compiler (looked for {', '.join(wanted)})")


def _own_processor() -> tuple[str, ...]:
    return ("-march=native",) if platform.machine().lower() in ("x86_64", "amd64") else ("-mcpu=native",)


def _fingerprint(compiler: Sequence[str], options: Sequence[str]) -> str:
    """Whatever the compiled code hangs on: another one gets another file."""
    sources = [file.name.encode() + file.read_bytes() for file in sorted(SOURCES.iterdir()) if file.is_file()]
    compiled_by = _run([*compiler, "--version"], 10.0)
    seen = [
        *sources,
        compiled_by.encode(),
        " ".join((*compiler[1:], *options)).encode(),
        machine().encode(),
        version("jaxlib").encode(),
    ]
    return hashlib.sha256(b"\0".join(seen)).hexdigest()[:24]


def _compile(compiler: Sequence[str], options: Sequence[str], file: Path) -> None:
    """No other process ever loads half a file."""
    headers = ["-isystem", jax.ffi.include_dir()]
    try:
        with whole_file(file) as unfinished:
            _run([*compiler, *options, *headers, str(SOURCES / _MAIN), "-o", str(unfinished)], _PATIENCE)
    except OSError as error:
        raise NativeCodeUnavailable(f"compiled code cannot be kept in {file.parent}: {error}") from error


def _run(command: list[str], seconds: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeCodeUnavailable(f"{command[0]} cannot be run: {error}") from error
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
        raise NativeCodeUnavailable(f"{command[0]} fails: {said}")
    return done.stdout
