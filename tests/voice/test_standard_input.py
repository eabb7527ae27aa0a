"""A pipe that stays open: it gives what has come, and ends when it is told to, also while nothing comes."""

from __future__ import annotations

import os
import threading

import pytest

from capibara.voice import AudioFormat, RawAudio, open_pipe

LIMIT = 30


@pytest.fixture
def pipe():
    """The two ends of a pipe: the reader, and the descriptor to write to."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader:
        yield reader, writing
        os.close(writing)


@pytest.mark.parametrize("sent", [b"", b"\x01\x02", bytes(1000)], ids=["nothing", "less than a header", "more"])
def test_a_silent_pipe_ends_when_it_is_told_to(pipe, sent):
    reader, writing = pipe
    os.write(writing, sent)
    stop, heard = threading.Event(), []

    def read():
        source = open_pipe(reader, AudioFormat(), stop)
        assert isinstance(source, RawAudio)
        heard.append(b"".join(source.blocks()))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()  # it waits for more
    stop.set()
    thread.join(LIMIT)
    assert heard == [sent]


def test_what_has_come_is_given_before_more_comes(pipe):
    reader, writing = pipe
    os.write(writing, bytes(16))
    blocks = open_pipe(reader, AudioFormat()).blocks()
    assert next(blocks) == bytes(16)
    os.write(writing, b"ab")
    assert next(blocks) == b"ab"
