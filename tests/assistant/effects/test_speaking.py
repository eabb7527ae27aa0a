"""What speaks the next answer, and how, after each change. Piper is a program here that takes the same arguments."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from capibara.assistant import Assistant
from capibara.assistant.spoken import Answered, Asked, ConversationEvent, Speaking
from capibara.voice import VirtualSink

from ...voice.beeper import Beeper
from ...voice.recorded import KnownRecordings, audio
from .observing import Changes, observes, until
from .talking import only, talk

pytestmark = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed, to which each test sets the voice back"
)

COST = "How much does a night in Casa Garza"
QUESTION = audio(0.5, COST, 0.1)
VOICES = Path(__file__).parents[2] / "voice" / "piper_voice"
PROGRAM = f"#!{sys.executable} -S\n" + textwrap.dedent("""
    import sys
    options = dict(zip(sys.argv[1:], sys.argv[2:]))
    level = 60 if "tiny" in options["--model"] else 30
    letters = len(sys.stdin.readline().strip())
    sys.stdout.buffer.write(bytes([0, level]) * int(400 * float(options["--length-scale"])) * letters)
""")
"""A letter sounds for 400 samples at the voice's own pace, and one voice is twice as loud as any other."""


class Heard(VirtualSink):
    """Notes the peak of each answer, and how far ahead of what is heard speech was made."""

    def __init__(self) -> None:
        super().__init__()
        self.peaks: list[float] = []
        self._written = self._rate_seen = 0

    @property
    def ahead(self) -> float:
        """Seconds written and not heard yet."""
        return (self._written - self.played()) / self._rate_seen if self._rate_seen else 0.0

    def write(self, samples, sample_rate):
        super().write(samples, sample_rate)
        if not self._written:
            self.peaks.append(0.0)
        self._written, self._rate_seen = self._written + len(samples), sample_rate
        self.peaks[-1] = max(self.peaks[-1], float(np.abs(samples).max()))

    def clear(self):
        super().clear()
        self._written = 0


@pytest.fixture
def piper(assistant: Assistant, change: Changes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program, and no package; the folder has two voices, of which the settings name ``en_XX-tiny``."""
    program = tmp_path / "bin" / "piper"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "piper" else found(name, *rest)
    )
    for name in ("en_XX-tiny", "en_XX-soft"):
        for suffix in (".onnx", ".onnx.json"):
            shutil.copy(VOICES / f"en_XX-tiny{suffix}", tmp_path / f"{name}{suffix}")
    change(assistant, {"voice.synthesizer": "piper", "voice.piper_voice": str(tmp_path / "en_XX-tiny.onnx")})
    return tmp_path


def two_answers(assistant: Assistant, change, sink: VirtualSink) -> list[ConversationEvent]:
    """The same question, answered once before and once after ``change``."""
    return talk(assistant, QUESTION, 8.0, change, QUESTION, 8.0, sink=sink, listening=KnownRecordings(COST))


def lengths(events: list[ConversationEvent]) -> list[float]:
    """Seconds that each answer was heard."""
    spans = zip(only(Speaking, events), only(Answered, events), strict=True)
    return [(answered.sample - speaking.sample) / 16_000 for speaking, answered in spans]


@observes("voice.synthesizer")
def test_the_next_answer_is_text_alone_where_nothing_is_to_speak(assistant: Assistant, change: Changes, piper: Path):
    events = two_answers(assistant, lambda: change(assistant, {"voice.synthesizer": "none"}), Heard())
    assert len(only(Answered, events)) == 2
    assert [speaking.turn for speaking in only(Speaking, events)] == [only(Asked, events)[0].turn]


@observes("voice.piper_voice")
def test_the_next_answer_is_spoken_by_the_voice_that_is_set(assistant: Assistant, change: Changes, piper: Path):
    sink = Heard()
    other = {"voice.piper_voice": str(piper / "en_XX-soft.onnx")}
    two_answers(assistant, lambda: change(assistant, other), sink)
    loud, soft = sink.peaks
    assert soft == pytest.approx(loud / 2, rel=0.05)


@observes("voice.speech_rate")
def test_the_next_answer_is_spoken_at_the_pace_that_is_set(assistant: Assistant, change: Changes, piper: Path):
    events = two_answers(assistant, lambda: change(assistant, {"voice.speech_rate": 2.0}), Heard())
    plain, quick = lengths(events)
    assert quick == pytest.approx(plain / 2, abs=0.11)


@observes("voice.speech_ahead_seconds")
def test_speech_is_made_as_far_ahead_as_is_set(assistant: Assistant, change: Changes):
    """In the middle of each answer time stands still, until the voice has made what it may make."""
    sink, ahead = Heard(), []

    def made(seconds: float) -> None:
        until(lambda: sink.ahead >= seconds)
        ahead.append(sink.ahead)

    talk(
        assistant,
        *(QUESTION, 1.2, lambda: made(2.5), 8.0),
        lambda: change(assistant, {"voice.speech_ahead_seconds": 1.0}),
        *(QUESTION, 1.2, lambda: made(1.0), 8.0),
        sink=sink,
        listening=KnownRecordings(COST),
        synthesizer=Beeper(),
    )
    assert ahead[0] > 2.4
    assert ahead[1] <= 1.0 + 0.25
