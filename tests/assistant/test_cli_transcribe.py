"""``capibara transcribe``: the real command; words come from a transcriber that knows the recordings."""

from __future__ import annotations

import io
import json
import sys
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from capibara.assistant.cli import main
from capibara.voice import models

from ..voice.recorded import FOLDER, KnownRecordings, audio

COST = "How much does a night in Casa Garza"
KEY = "Where does the key"
ASKED = "How much does a night in Casa Garza cost?"
HANG = "Where does the key of the dry store hang?"
MODEL = FOLDER.parent / "model"


def write(path, samples: np.ndarray):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    return str(path)


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No settings but the test's own, and no models in the cache."""
    from huggingface_hub import constants

    monkeypatch.setenv("CAPIBARA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def known(monkeypatch):
    """A speech model that makes no mistakes."""
    monkeypatch.setattr(models, "open_transcriber", lambda settings: KnownRecordings(COST, KEY))


@pytest.fixture
def run(capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["transcribe", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "cost.wav", audio(0.5, COST, 1.5, KEY, 1.0))


def test_each_utterance_is_a_line(run, known, file):
    assert run(file) == (0, f"{ASKED}\n{HANG}\n", "")


def test_several_files_have_headings(run, known, file, tmp_path):
    other = write(tmp_path / "key.wav", audio(0.5, KEY, 1.0))
    assert run(file, other) == (0, f"{file}:\n{ASKED}\n{HANG}\n\n{other}:\n{HANG}\n", "")


def test_json_has_words_in_seconds_and_what_it_cost(run, known, file):
    code, out, err = run(file, "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert (document["file"], document["language"], document["text"]) == (file, "en", f"{ASKED} {HANG}")
    assert [segment["text"] for segment in document["segments"]] == [ASKED, HANG]
    words = [word for segment in document["segments"] for word in segment["words"]]
    assert " ".join(word["word"] for word in words) == document["text"]
    assert words[0]["start"] == pytest.approx(0.5, abs=0.05)
    assert words[-1]["end"] == pytest.approx(len(audio(0.5, COST, 1.5, KEY)) / 16_000, abs=0.05)
    assert all(first["start"] <= first["end"] <= second["end"] for first, second in pairwise(words))
    metrics = document["metrics"]
    assert metrics["model_calls"] > 0
    assert metrics["seconds_decoded"] > 0
    assert 1.0 < metrics["seconds_skipped"] < metrics["seconds_received"]


def test_json_of_several_files_is_one_document(run, known, file, tmp_path):
    code, out, _ = run(file, str(tmp_path / "none.wav"), "--json")
    first, second = json.loads(out)["files"]
    assert code == 1
    assert first["text"] == f"{ASKED} {HANG}"
    assert second["error"].endswith("none.wav does not exist")
    assert second["segments"] == []


def test_subtitles(run, known, file):
    code, out, _ = run(file, "--srt")
    assert code == 0
    assert out.startswith("1\n00:00:00,")
    assert out.count(" --> ") == 2
    code, out, _ = run(file, "--vtt")
    assert code == 0
    assert out.startswith("WEBVTT\n\n00:00:00.")
    assert ASKED in out


def test_following_shows_words_before_the_utterance_has_ended(run, known, file):
    code, out, _ = run(file, "--follow")
    lines = out.splitlines()
    assert code == 0
    assert [line for line in lines if not line.startswith("… ")] == [ASKED, HANG]
    partials = [line.removeprefix("… ") for line in lines[: lines.index(ASKED)]]
    assert partials
    assert all(first != second for first, second in pairwise(partials))
    assert all(ASKED.startswith(partial) for partial in partials)


def bad_files(folder):
    (folder / "text.wav").write_text("This is a text file.")
    (folder / "header.wav").write_bytes(b"RIFF$\x00\x00\x00WAVEfmt \x10\x00\x00\x00" + bytes(16) + b"data" + bytes(4))
    (folder / "empty.mp3").write_bytes(b"")
    return ["text.wav", "header.wav", "empty.mp3", "none.wav", "."]


def test_a_bad_file_is_one_line_and_the_rest_goes_on(run, known, file, tmp_path):
    names = bad_files(tmp_path)
    code, out, err = run(*names, file)
    assert code == 1
    assert out == f"{file}:\n{ASKED}\n{HANG}\n"
    lines = err.splitlines()
    assert len(lines) == len(names)
    assert all(line.startswith("capibara: ") for line in lines)
    assert lines[2:4] == ["capibara: empty.mp3 is empty", "capibara: none.wav does not exist"]


def test_silence_is_no_text_and_no_failure(run, known, tmp_path):
    code, out, err = run(write(tmp_path / "s.wav", audio(2.0)), "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert (document["text"], document["language"], document["segments"]) == ("", None, [])
    assert document["metrics"]["model_calls"] == 0


class Pipe(io.TextIOWrapper):
    """Standard input with bytes in it."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BufferedReader(io.BytesIO(content)))


@pytest.mark.parametrize("raw", [True, False])
def test_standard_input_is_raw_samples_or_a_file(run, known, file, monkeypatch, raw):
    content = audio(0.5, COST, 1.0).tobytes() if raw else Path(file).read_bytes()
    monkeypatch.setattr(sys, "stdin", Pipe(content))
    code, out, _ = run("-")
    assert (code, out.splitlines()[0]) == (0, ASKED)


def test_a_missing_model_is_one_line_with_the_way_to_get_it(run, file):
    code, out, err = run(file)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "run `capibara models pull small`" in err


def test_a_missing_model_is_a_document_with_json(run, file):
    code, out, _ = run(file, "--json")
    assert code == 1
    assert json.loads(out)["error"]["type"] == "SpeechModelNotFound"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.wav", "--srt", "--vtt"], "--srt and --vtt: choose one of them"),
        (["a.wav", "--vtt", "--follow"], "--vtt and --follow: choose one of them"),
        (["a.wav", "b.wav", "--srt"], "--srt takes one file, not 2"),
        ([], "Missing argument"),
    ],
)
def test_wrong_usage_is_one_line(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"capibara: {message}")


def test_an_unknown_language_names_those_that_are_known(run, known, file):
    code, _, err = run(file, "--language", "xx")
    assert (code, err) == (
        2,
        "capibara: --language xx: the speech model known recordings knows en, es\n",
    )


@pytest.mark.skipif(not (MODEL / "model.bin").is_file(), reason="the speech model of the fixture is not there")
def test_the_fixture_transcribes_a_recording(run):
    code, out, err = run(str(FOLDER / "en-how-much-does-a-night-in.flac"), "--set", f"voice.model={MODEL}")
    assert (code, out, err) == (0, f"{ASKED}\n", "")
