"""Runs a program that takes text on standard input and gives PCM on standard output, block by block; never a shell."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import BinaryIO, cast

import numpy as np
from jaxtyping import Float32

from .errors import VoiceError, VoiceUnavailable

_BLOCK = 8192


def pcm_blocks(command: Sequence[str], text: str, *, skip: int = 0) -> Generator[Float32[np.ndarray, " S"]]:
    """The 16-bit little-endian mono samples that ``command`` writes for ``text``, without the first ``skip`` bytes.

    Closing the iterator ends the program.

    Raises:
        VoiceUnavailable: the program cannot be started.
        VoiceError: it failed; the message holds the last line of its standard error.
    """
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaints:
        said.write(text.encode("utf-8", "replace"))
        said.seek(0)
        try:
            process = subprocess.Popen(command, stdin=said, stdout=subprocess.PIPE, stderr=complaints)
        except OSError as error:
            raise VoiceUnavailable(f"{command[0]} cannot be started ({error.strerror})") from error
        try:
            yield from _samples(cast("BinaryIO", process.stdout), skip)
            code = process.wait()
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
            cast("BinaryIO", process.stdout).close()
        if code != 0:
            complaints.seek(0)
            lines = complaints.read().decode("utf-8", "replace").split("\n")
            cause = next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {code}")
            raise VoiceError(f"{command[0]} cannot speak: {cause}")


def _samples(stream: BinaryIO, skip: int) -> Generator[Float32[np.ndarray, " S"]]:
    rest = b""
    while data := stream.read1(_BLOCK):  # type: ignore[attr-defined]
        rest += data
        if skip:
            dropped = min(skip, len(rest))
            rest, skip = rest[dropped:], skip - dropped
        whole = len(rest) // 2 * 2
        if whole:
            yield np.frombuffer(rest[:whole], "<i2").astype(np.float32) / 32768
            rest = rest[whole:]
