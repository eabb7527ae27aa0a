"""What every `AudioSink` must do."""

from __future__ import annotations

import numpy as np
import pytest

from capibara.voice.errors import AudioError

RATE = 22_050


def ramp(samples: int) -> np.ndarray:
    return np.linspace(-1, 1, samples, dtype=np.float32)


class SinkConformance:
    """Inherit, give a fixture ``sink``, and say in ``pass_time`` how its time passes."""

    def pass_time(self, sink, seconds: float) -> None:
        raise NotImplementedError

    def test_nothing_written_is_nothing_heard(self, sink):
        self.pass_time(sink, 1.0)
        assert sink.played() == 0

    @pytest.mark.parametrize("blocks", [1, 7])
    def test_what_was_written_is_heard_as_time_passes_and_no_further(self, sink, blocks):
        for block in np.array_split(ramp(RATE), blocks):
            sink.write(block, RATE)
        self.pass_time(sink, 0.4)
        assert 0.2 * RATE <= sink.played() <= 0.41 * RATE
        self.pass_time(sink, 2.0)
        assert sink.played() == RATE

    def test_a_paused_sink_is_silent_and_goes_on_where_it_was(self, sink):
        sink.write(ramp(RATE), RATE)
        self.pass_time(sink, 0.3)
        sink.pause()
        self.pass_time(sink, 0.3)
        before = sink.played()
        self.pass_time(sink, 1.0)
        assert sink.played() == before < RATE
        sink.resume()
        self.pass_time(sink, 2.0)
        assert sink.played() == RATE

    def test_clearing_forgets_what_is_queued_and_counts_anew(self, sink):
        sink.write(ramp(RATE), RATE)
        self.pass_time(sink, 0.3)
        sink.pause()
        sink.clear()
        self.pass_time(sink, 1.0)
        assert sink.played() == 0
        sink.write(ramp(RATE // 2), RATE)
        self.pass_time(sink, 2.0)
        assert sink.played() == RATE // 2

    def test_an_empty_block_is_no_failure(self, sink):
        sink.write(np.zeros(0, np.float32), RATE)
        self.pass_time(sink, 0.1)
        assert sink.played() == 0

    def test_another_rate_is_refused(self, sink):
        sink.write(ramp(10), RATE)
        with pytest.raises(AudioError, match="16000 Hz"):
            sink.write(ramp(10), 16_000)

    def test_closing_twice_is_no_failure(self, sink):
        sink.write(ramp(10), RATE)
        sink.close()
        sink.close()
