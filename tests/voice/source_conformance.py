"""What every `AudioSource` does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from capibara.voice import AudioFormat, AudioSource
from capibara.voice.pcm import PcmDecoder


class AudioSourceConformance:
    seconds: float
    """How long the source lasts."""

    @pytest.fixture
    def source(self, tmp_path: Any) -> AudioSource:
        raise NotImplementedError

    def test_its_blocks_are_laid_out_as_it_says(self, source):
        assert isinstance(source.audio_format, AudioFormat)
        decoder = PcmDecoder(source.audio_format)
        samples = sum(len(decoder.decode(block)) for block in source.blocks())
        assert samples == pytest.approx(self.seconds * source.audio_format.sample_rate, rel=0.01)
        assert isinstance(samples, int | np.integer)

    def test_it_can_be_closed_more_than_once(self, source):
        source.close()
        source.close()
