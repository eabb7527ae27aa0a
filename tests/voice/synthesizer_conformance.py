"""What every `Synthesizer` must do."""

from __future__ import annotations

import numpy as np
import pytest

from capibara.voice.protocols import Synthesizer


class SynthesizerConformance:
    """Inherit and give a fixture ``synthesizer``; ``language`` is one that it speaks."""

    language = "en"

    def speech(self, synthesizer: Synthesizer, text: str) -> np.ndarray:
        blocks = list(synthesizer.synthesize(text, self.language))
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)

    def test_speech_is_mono_float_within_full_scale_and_audible(self, synthesizer):
        synthesizer.warm_up()
        samples = self.speech(synthesizer, "the boat leaves at nine.")
        assert samples.dtype == np.float32
        assert samples.ndim == 1
        assert 0.05 < np.abs(samples).max() <= 1.0

    def test_longer_texts_take_longer(self, synthesizer):
        short, long = (self.speech(synthesizer, text) for text in ("nine.", "the boat leaves at nine in the morning."))
        assert len(long) > len(short) > 0.05 * synthesizer.sample_rate

    @pytest.mark.parametrize("text", ["", "  ", "\n"])
    def test_nothing_to_say_is_no_failure(self, synthesizer, text):
        assert np.abs(self.speech(synthesizer, text)).sum() == 0

    @pytest.mark.parametrize(
        "text",
        ["-v xx --help", "$(touch x) `ls` ; ls | cat", "<break time='99s'/> a", "[[h@l@U]] a", "a\x00b\x07", "é🦫 a"],
    )
    def test_no_text_is_a_command(self, synthesizer, text, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert 0 < len(self.speech(synthesizer, text)) < 20 * synthesizer.sample_rate
        assert list(tmp_path.iterdir()) == []

    def test_the_same_text_sounds_the_same(self, synthesizer):
        first, second = (self.speech(synthesizer, "the same text.") for _ in range(2))
        assert np.array_equal(first, second)

    def test_it_can_be_stopped_after_the_first_block(self, synthesizer):
        blocks = synthesizer.synthesize("one two three four. " * 50, self.language)
        assert len(next(blocks)) > 0
        blocks.close()
        assert next(blocks, None) is None

    def test_it_says_its_name_and_rate(self, synthesizer):
        assert synthesizer.name
        assert 8_000 <= synthesizer.sample_rate <= 48_000
