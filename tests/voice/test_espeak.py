"""espeak-ng, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

from capibara.config.schema import VoiceSettings
from capibara.voice.errors import VoiceError, VoiceUnavailable
from capibara.voice.espeak import Espeak
from capibara.voice.synthesis import open_synthesizer

from .synthesizer_conformance import SynthesizerConformance

installed = pytest.mark.skipif(not Espeak.available(), reason="espeak-ng is not installed")


@installed
class TestEspeak(SynthesizerConformance):
    @pytest.fixture
    def synthesizer(self):
        return Espeak()


@installed
class TestEspeakInSpanish(SynthesizerConformance):
    language = "es"

    @pytest.fixture
    def synthesizer(self):
        return Espeak(rate=1.5)


@installed
def test_the_rate_changes_the_length():
    slow, quick = (sum(map(len, Espeak(rate).synthesize("The boat leaves at nine.", "en"))) for rate in (1.0, 2.0))
    assert quick < 0.75 * slow


@installed
@pytest.mark.parametrize("language", ["zh", "no", "pt-br", "EN"])
def test_whispers_codes_are_understood(language):
    assert sum(map(len, Espeak().synthesize("abc 123", language))) > 0


@installed
@pytest.mark.parametrize(("language", "message"), [("xx", "does not exist"), ("../../etc", "no code"), ("", "no code")])
def test_an_unknown_language_is_one_line(language, message):
    with pytest.raises(VoiceError, match=message) as raised:
        list(Espeak().synthesize("text", language))
    assert "\n" not in str(raised.value)


def test_a_missing_program_is_one_line_that_names_the_way_out():
    with pytest.raises(VoiceUnavailable, match="install the package espeak-ng"):
        Espeak(program="espeak-ng-that-is-not-there").warm_up()


@installed
def test_speech_has_no_header_in_it():
    first = next(iter(Espeak().synthesize("aaa", "en")))
    assert np.abs(first[:100]).max() < 0.2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"synthesizer": "auto"}, r"espeak-ng is not installed: .* or piper-tts"),
        ({"synthesizer": "espeak"}, "espeak-ng is not installed"),
        ({"synthesizer": "piper"}, "no Piper voice is set"),
    ],
)
def test_without_any_voice_one_line_says_so(settings, message, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(VoiceUnavailable, match=message) as raised:
        open_synthesizer(VoiceSettings(**settings))
    assert "\n" not in str(raised.value)


@installed
def test_espeak_is_chosen_where_no_piper_voice_is_set():
    synthesizer = open_synthesizer(VoiceSettings())
    assert synthesizer is not None
    assert synthesizer.name == "espeak-ng"
    assert open_synthesizer(VoiceSettings(synthesizer="none")) is None
