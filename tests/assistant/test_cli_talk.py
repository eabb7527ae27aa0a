"""``capibara talk``: the real command over recordings; words come from a transcriber that knows them."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
import wave
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from capibara.assistant import Assistant
from capibara.assistant.cli import main
from capibara.voice import models
from capibara.voice.espeak import Espeak

from ..voice.recorded import FOLDER, KnownRecordings, audio

COST = "How much does a night in Casa Garza"
KEY = "Where does the key"
STOP = "Stop, I want"
MODEL = FOLDER.parent / "model"
NOTE = """\
A night in Casa Garza costs 1,850 pesos per person, with breakfast.

The key of the dry store hangs behind the kitchen door.
"""
pytestmark = pytest.mark.usefixtures("alone")
SETTINGS = ("--set", "model.path=/nowhere/model.gguf", "--set", "assistant.evidence_sentences=1")
speaks = pytest.mark.skipif(not Espeak.available(), reason="espeak-ng is not installed")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with one note."""
    folder = tmp_path_factory.mktemp("talk")
    (folder / "note.txt").write_text(NOTE)
    with Assistant.open(folder / "data") as assistant:
        assistant.ingest(folder / "note.txt")
    return folder / "data"


@pytest.fixture
def known(monkeypatch):
    """A speech model that makes no mistakes."""
    monkeypatch.setattr(models, "open_transcriber", lambda settings: KnownRecordings(COST, KEY, STOP))
    monkeypatch.setattr(models, "find_speech_model", lambda name: MODEL)


@pytest.fixture
def run(capsys, data):
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["talk", "--data-dir", str(data), *SETTINGS, *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def file(tmp_path):
    def file(*parts) -> str:
        path = tmp_path / "talk.wav"
        with wave.open(str(path), "wb") as written:
            written.setnchannels(1)
            written.setsampwidth(2)
            written.setframerate(16_000)
            written.writeframes(audio(*parts).tobytes())
        return str(path)

    return file


def events(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_question_answer_and_citation_are_shown(run, known, file):
    code, out, _ = run("--audio", file(0.5, COST, 1.0, KEY, 1.0), "--fast", "--mute")
    assert code == 0
    assert [line for line in out.splitlines() if line] == [
        "> How much does a night in Casa Garza cost?",
        "“A night in Casa Garza costs 1,850 pesos per person, with breakfast.” [1]",
        "[1] note.txt",
        "> Where does the key of the dry store hang?",
        "“The key of the dry store hangs behind the kitchen door.” [1]",
        "[1] note.txt",
    ]


def test_a_recording_is_heard_much_more_quickly_than_it_lasts_where_that_is_asked_for(run, known, file):
    began = time.monotonic()
    assert run("--audio", file(COST, 100.0), "--fast", "--mute")[0] == 0
    assert time.monotonic() - began < 50


@speaks
def test_the_answer_is_spoken_into_a_file_in_step_with_the_recording(run, known, file, tmp_path):
    code, out, err = run("--audio", file(0.5, COST, 8.0), "--fast", "--speech", str(tmp_path / "s.wav"), "--json")
    assert code == 0, err
    found = events(out)
    speaking = next(event for event in found if event["event"] == "speaking")
    with wave.open(str(tmp_path / "s.wav")) as heard:
        sound = np.abs(np.frombuffer(heard.readframes(heard.getnframes()), "<i2"))
        first = int(np.flatnonzero(sound > 300)[0]) / heard.getframerate()
    assert first == pytest.approx(speaking["at"], abs=0.3)
    assert [event["text"] for event in found if event["event"] == "spoken"] == [
        "“A night in Casa Garza costs 1,850 pesos per person, with breakfast.”"
    ]


@speaks
def test_speaking_meanwhile_interrupts_and_what_follows_is_answered(run, known, file, data):
    code, out, err = run("--audio", file(0.5, COST, 2.5, KEY, 8.0), "--fast", "--json")
    assert code == 0, err
    kinds = [event["event"] for event in events(out)]
    assert kinds.index("paused") < kinds.index("interrupted") < kinds.index("end")
    assert kinds.count("asked") == 2
    last = events(out)[-1]
    assert last["metrics"]["model_calls"] > 0
    with Assistant.open(data) as assistant:
        first, second = assistant.conversations.turns(last["conversation"])
    assert (first.interrupted, second.interrupted) == (True, False)
    assert "“A night in Casa Garza costs".startswith(first.answer[:20])


def test_json_is_one_document_per_line_with_times_in_seconds(run, known, file):
    code, out, _ = run("--audio", file(0.5, COST, 1.0), "--fast", "--mute", "--json")
    found = events(out)
    assert code == 0
    kinds = [event["event"] for event in found]
    assert kinds[0] == "speech_started"
    assert kinds[-1] == "end"
    for kind in ("partial", "final", "end_of_turn", "asked", "retrieved", "text_delta", "answer_ready", "answered"):
        assert kind in kinds
    started = found[0]
    assert started["start"] == pytest.approx(0.5, abs=0.15)
    final = found[kinds.index("final")]
    assert (final["text"], final["words"][0]["word"]) == ("How much does a night in Casa Garza cost?", "How")
    answer = found[kinds.index("answer_ready")]
    assert answer["citations"][0]["quote"] == NOTE.split("\n\n")[0]
    assert answer["conversation"] == found[-1]["conversation"]
    assert found[kinds.index("answered")]["at"] == pytest.approx(len(audio(0.5, COST)) / 16_000 + 0.6, abs=0.3)
    assert not any("sample" in event for event in found)
    assert re.search(r"\d\.\d{4}", out) is None


def test_without_a_voice_one_line_says_so_and_the_text_is_shown(run, known, file, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    code, out, err = run("--audio", file(0.5, COST, 1.0), "--fast")
    assert code == 0
    assert "1,850 pesos" in out
    [line] = [line for line in err.splitlines() if "not spoken" in line]
    assert line.startswith("capibara: answers are shown, not spoken: espeak-ng is not installed: install")


@speaks
def test_without_a_loudspeaker_one_line_says_so_and_the_text_is_shown(run, known, file, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    code, out, err = run("--audio", file(COST, 1.0))
    assert code == 0
    assert "1,850 pesos" in out
    assert "answers are shown, not spoken: a loudspeaker needs sounddevice: pip install sounddevice" in err


def test_without_a_microphone_one_line_says_so(run, known, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    code, out, err = run()
    assert (code, out) == (1, "")
    assert err == "capibara: sounddevice is not installed: pip install sounddevice\n"


def test_a_missing_speech_model_is_one_line_before_anything_is_loaded(run, file):
    code, out, err = run("--audio", file(0.5))
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "run `capibara models pull small`" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--fast"], 2, "--fast needs --audio"),
        (["--audio", "none.wav"], 1, "none.wav does not exist"),
        (["--audio", ".", "--collection", "x"], 1, ". is a folder"),
    ],
)
def test_what_cannot_be_heard_is_one_line(run, known, arguments, code, message):
    done, out, err = run(*arguments)
    assert (done, out) == (code, "")
    assert err.startswith(f"capibara: {message}")
    assert err.count("\n") == 1


def test_no_documents_is_one_line(run, known, file):
    code, _, err = run("--audio", file(0.5), "--collection", "empty")
    assert code == 1
    assert "there are no documents in collection empty" in err


@speaks
def test_ctrl_c_stops_the_answer_and_a_second_one_leaves(run, known, file, monkeypatch):
    """The recording comes at its own pace; Ctrl-C is pressed while the answer sounds, and again."""
    from capibara.assistant.cli import conversing

    show = conversing.JsonView.show

    def press(view, event):
        show(view, event)
        if type(event).__name__ in ("Speaking", "Interrupted"):
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    monkeypatch.setattr(conversing.JsonView, "show", press)
    code, out, _ = run("--audio", file(COST, 30.0), "--speech", "s.wav", "--json")
    kinds = [event["event"] for event in events(out)]
    assert code == 130
    assert kinds.count("interrupted") == 1
    assert kinds[-1] == "end"


class Unplugged:
    """As sounddevice's RawInputStream: gives a recording, and is gone."""

    def __init__(self, samplerate, blocksize, callback, finished_callback, **_options):
        self._block, self._callback, self._finished = blocksize * 2, callback, finished_callback
        self.active = False

    def start(self):
        self.active = True
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        sound, fine = audio(0.5, COST, 1.5).tobytes(), SimpleNamespace(input_overflow=False)
        for start in range(0, len(sound), self._block):
            self._callback(sound[start : start + self._block], self._block // 2, None, fine)
        self.active = False
        self._finished()

    def close(self):
        self.active = False


def test_an_unplugged_microphone_is_one_line_and_what_was_asked_is_answered_and_kept(run, known, monkeypatch, data):
    portaudio = ModuleType("sounddevice")
    portaudio.__spec__ = ModuleSpec("sounddevice", None)
    portaudio.PortAudioError = type("PortAudioError", (Exception,), {})
    portaudio.query_devices = lambda device, kind: {"default_samplerate": 16_000}
    portaudio.RawInputStream = Unplugged
    monkeypatch.setitem(sys.modules, "sounddevice", portaudio)
    code, out, _ = run("--mute", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert found[-1] == {
        "error": {"type": "MicrophoneError", "message": "the microphone stopped; it may have been unplugged"}
    }
    end = found[-2]
    with Assistant.open(data) as assistant:
        [turn] = assistant.conversations.turns(end["conversation"])
    assert turn.question == "How much does a night in Casa Garza cost?"
    assert "1,850 pesos" in turn.answer


@pytest.mark.skipif(not (MODEL / "model.bin").is_file(), reason="the speech model of the fixture is not there")
def test_a_recording_is_understood_by_the_fixture_and_answered(run, file):
    code, out, err = run("--audio", file(0.5, COST, 1.0), "--fast", "--mute", "--set", f"voice.model={MODEL}")
    assert code == 0, err
    assert "> How much does a night in Casa Garza cost?" in out
    assert "1,850 pesos" in out
