"""Which packages speech needs, and what is said where they are missing."""

from __future__ import annotations

import sys

import pytest

from capibara.voice.errors import VoiceUnavailable
from capibara.voice.packages import require_packages


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (["soxr"], "soxr is not installed: pip install soxr"),
        (["webrtcvad", "soxr"], "webrtcvad-wheels, soxr are not installed: pip install webrtcvad-wheels soxr"),
    ],
)
def test_all_that_are_missing_are_named_with_the_command(monkeypatch, missing, message):
    for module in missing:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(VoiceUnavailable) as raised:
        require_packages()
    assert str(raised.value) == message


def test_sounddevice_is_needed_for_a_microphone_only(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    require_packages()
    with pytest.raises(VoiceUnavailable, match="sounddevice is not installed: pip install sounddevice"):
        require_packages(microphone=True)
