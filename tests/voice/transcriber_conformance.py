"""What every `Transcriber` does."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from capibara.voice import DecodeOptions, Transcriber


class TranscriberConformance:
    @pytest.fixture
    def transcriber(self) -> Transcriber:
        raise NotImplementedError

    @pytest.fixture
    def speech(self) -> np.ndarray:
        """Some words in English."""
        raise NotImplementedError

    def test_it_has_a_name_and_knows_languages(self, transcriber):
        transcriber.warm_up()
        assert transcriber.name
        assert "en" in transcriber.languages

    @pytest.mark.parametrize("length", [0, 1, 400, 1_600])
    def test_hardly_any_audio_gives_no_words(self, transcriber, length):
        assert transcriber.transcribe(np.zeros(length, np.float32), DecodeOptions("en")).words == ()

    def test_silence_gives_no_words(self, transcriber):
        assert transcriber.transcribe(np.zeros(32_000, np.float32), DecodeOptions("en", final=True)).words == ()

    @pytest.mark.parametrize("final", [False, True])
    def test_words_are_in_order_and_within_the_audio(self, transcriber, speech, final):
        words = transcriber.transcribe(speech, DecodeOptions("en", final=final)).words
        assert words
        assert all(0 <= word.start <= word.end <= len(speech) for word in words)
        assert all(a.start <= b.start for a, b in pairwise(words))
        assert all(word.text == word.text.strip() != "" and 0 <= word.probability <= 1 for word in words)

    def test_the_same_audio_gives_the_same_words(self, transcriber, speech):
        options = DecodeOptions("en", final=True)
        assert transcriber.transcribe(speech, options) == transcriber.transcribe(speech, options)

    def test_the_audio_is_left_as_it_was(self, transcriber, speech):
        before = speech.copy()
        transcriber.transcribe(speech, DecodeOptions("en"))
        assert np.array_equal(speech, before)

    def test_a_language_that_is_named_is_kept_and_one_that_is_not_is_found(self, transcriber, speech):
        assert transcriber.transcribe(speech, DecodeOptions("en")).language == "en"
        found = transcriber.transcribe(speech, DecodeOptions(None))
        assert found.language == "en"
        assert 0 < found.language_probability <= 1
