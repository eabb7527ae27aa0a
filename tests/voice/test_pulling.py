"""Sources under asyncio: in short blocks, at their pace, and closed whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
import time

import numpy as np
import pytest

from capibara.voice.audio_files import AudioFile
from capibara.voice.errors import AudioError
from capibara.voice.pulling import frames_in, parts, pulled
from capibara.voice.raw_audio import RawAudio
from capibara.voice.standard_input import open_pipe
from capibara.voice.values import AudioFormat

from .recorded import FOLDER


class Source:
    def __init__(self, *blocks, audio_format=None, error=None):
        self.audio_format = audio_format or AudioFormat()
        self._blocks, self._error = blocks, error
        self.closed = False

    def blocks(self):
        yield from self._blocks
        if self._error is not None:
            raise self._error

    def close(self):
        self.closed = True


def collect(source, **options):
    async def run():
        return [block async for block in pulled(source, **options)]

    return asyncio.run(run())


@pytest.mark.parametrize("blocks", [(), (b"ab",), (bytes(16_000), b"x", bytes(3))])
def test_all_audio_comes_in_order_in_short_blocks(blocks):
    source = Source(*blocks)
    found = collect(source)
    assert b"".join(found) == b"".join(blocks)
    assert all(len(block) <= 1600 for block in found)
    assert source.closed


def test_arrays_are_cut_along_time():
    audio = np.arange(20_000, dtype=np.float32).reshape(-1, 2)
    found = collect(Source(audio, audio_format=AudioFormat(16_000, 2, "f32le")))
    assert np.array_equal(np.concatenate(found), audio)
    assert max(map(len, found)) == 800


def test_frames_are_counted_whatever_the_format():
    stereo = AudioFormat(8_000, 2, "f32le")
    assert frames_in(bytes(80), stereo) == 10
    assert frames_in(np.zeros((7, 2)), stereo) == 7
    assert sum(len(part) for part in parts(bytes(999), stereo)) == 999


def test_what_came_before_an_error_is_given_first():
    source = Source(bytes(1600), error=AudioError("unplugged"))
    given = []

    async def run():
        async for block in pulled(source):
            given.append(block)

    with pytest.raises(AudioError, match="unplugged"):
        asyncio.run(run())
    assert len(given) == 1
    assert source.closed


def test_real_time_is_kept_when_asked_for():
    began = time.monotonic()
    collect(Source(bytes(32 * 300)), paced=True)
    assert time.monotonic() - began >= 0.25


def test_leaving_early_closes_the_source_and_ends_its_thread():
    endless = threading.Event()

    class Endless(Source):
        def blocks(self):
            while not self.closed:
                yield bytes(1600)
            endless.set()

    async def run():
        async with contextlib.aclosing(pulled(Endless())) as blocks:
            async for _ in blocks:
                break

    asyncio.run(run())
    assert endless.wait(5)


def pipe(content: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(content))


def test_a_pipe_may_carry_a_file():
    content = (FOLDER / "en-which-firm-repairs-the-jetty.flac").read_bytes()
    source = open_pipe(pipe(content), AudioFormat())
    assert isinstance(source, AudioFile)
    assert sum(map(len, source.blocks())) > 30_000


def test_a_pipe_may_carry_raw_samples():
    source = open_pipe(pipe(bytes(1001)), AudioFormat(8_000))
    assert isinstance(source, RawAudio)
    assert b"".join(source.blocks()) == bytes(1001)
    assert source.audio_format.sample_rate == 8_000


def test_an_empty_pipe_and_a_broken_file_are_one_line():
    with pytest.raises(AudioError, match="standard input is empty"):
        open_pipe(pipe(b""), AudioFormat())
    with pytest.raises(AudioError, match="standard input: not an audio file"):
        open_pipe(pipe(b"RIFF" + bytes(40)), AudioFormat())
