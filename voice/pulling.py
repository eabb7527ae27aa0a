"""Reads a source of audio under asyncio: on a thread of its own, in short blocks, at the pace of real time if asked."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import CancelledError

import numpy as np

from .protocols import AudioSource
from .values import AudioFormat

BLOCK_SECONDS = 0.05
_READ_AHEAD = 8


async def pulled(source: AudioSource, *, paced: bool = False) -> AsyncGenerator[bytes | np.ndarray]:
    """The audio of ``source`` in blocks of at most 50 ms; ``paced``: none before its time has come.

    Leaving the loop closes the source, while it may be reading on its thread.

    Raises:
        AudioError: the source cannot be read any further; all audio before that was given.
    """
    loop = asyncio.get_running_loop()
    blocks: asyncio.Queue[bytes | np.ndarray | Exception | None] = asyncio.Queue(_READ_AHEAD)
    left = threading.Event()

    def give(item: bytes | np.ndarray | Exception | None) -> bool:
        """False: nobody wants it any more."""
        putting = blocks.put(item)
        try:
            if not left.is_set():
                asyncio.run_coroutine_threadsafe(putting, loop).result()
                return True
        except (CancelledError, RuntimeError):  # the loop has ended
            pass
        putting.close()
        return False

    def read() -> None:
        try:
            for block in source.blocks():
                if not give(block):
                    return
        except Exception as error:  # noqa: BLE001 -- it is raised where the audio is awaited
            give(error)
        else:
            give(None)

    threading.Thread(target=read, name="capibara-audio", daemon=True).start()
    began, given = time.monotonic(), 0.0
    try:
        while (block := await blocks.get()) is not None:
            if isinstance(block, Exception):
                raise block
            for part in parts(block, source.audio_format):
                given += frames_in(part, source.audio_format) / source.audio_format.sample_rate
                if paced and (early := began + given - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                yield part
    finally:
        left.set()
        source.close()
        while not blocks.empty():
            blocks.get_nowait()


def parts(block: bytes | np.ndarray, audio_format: AudioFormat) -> Iterator[bytes | np.ndarray]:
    """``block`` in pieces of at most 50 ms."""
    step = max(1, round(BLOCK_SECONDS * audio_format.sample_rate))
    if isinstance(block, bytes):
        step *= audio_format.bytes_per_frame
    for start in range(0, len(block), step):
        yield block[start : start + step]


def frames_in(block: bytes | np.ndarray, audio_format: AudioFormat) -> float:
    """How many moments of sound ``block`` holds; part of one where it ends within a frame."""
    return len(block) / audio_format.bytes_per_frame if isinstance(block, bytes) else float(len(block))
