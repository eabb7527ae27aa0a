"""Ctrl-C while a voice command loads or waits: real processes, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from capibara.assistant import Assistant

from ..voice.recorded import FOLDER, audio

MODEL = FOLDER.parent / "model"
COST = str(FOLDER / "en-how-much-does-a-night-in.flac")
COMMAND = "from capibara.assistant.cli import main; raise SystemExit(main())"
TEXT_ONLY = ("--set", "model.path=/nowhere/model.gguf")
LIMIT = 120
fixture = pytest.mark.skipif(not (MODEL / "model.bin").is_file(), reason="the speech model of the fixture is not there")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupt")
    (folder / "note.txt").write_text("A night in Casa Garza costs 1,850 pesos per person, with breakfast.")
    with Assistant.open(folder / "data") as assistant:
        assistant.ingest(folder / "note.txt")
    return folder / "data"


@pytest.fixture
def start(data):
    """Starts Python with ``code`` and arguments; standard input stays open and silent."""
    started = []

    def start(code: str, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "CAPIBARA_DATA_DIR": str(data)}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """What it ends with, its standard input still open."""
    code = process.wait(LIMIT)
    return code, process.stdout.read().decode(), process.stderr.read().decode()


@fixture
def test_talk_that_loads_is_ended_at_once_by_one_line(start):
    process = start(COMMAND, "talk", "--audio", COST, "--mute", "--set", f"voice.model={MODEL}")
    assert process.stderr.readline().decode() == "Loading the models …\n"
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "", "capibara: interrupted\n")


@pytest.mark.parametrize("as_json", [False, True])
def test_work_without_a_place_to_stop_at_does_not_keep_the_process(start, as_json):
    process = start(
        textwrap.dedent(f"""
            import sys, threading
            from capibara.assistant.cli.interrupt import EndingAtOnce

            def never():
                print("begun", file=sys.stderr, flush=True)
                threading.Event().wait()

            with EndingAtOnce(sys.stdout, as_json={as_json}) as ending:
                ending.run(never)
        """)
    )
    assert process.stderr.readline() == b"begun\n"
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert code == 130
    if as_json:
        assert (json.loads(out)["error"]["type"], err) == ("Interrupted", "")
    else:
        assert (out, err) == ("", "capibara: interrupted\n")


@fixture
@pytest.mark.parametrize("options", [["--follow"], []])
def test_transcribe_that_waits_for_a_silent_pipe_tells_what_it_heard_and_ends(start, options):
    process = start(COMMAND, "transcribe", "-", "--rate", "16000", *options, "--set", f"voice.model={MODEL}")
    process.stdin.write(audio("How much does a night in Casa Garza", 2.0).tobytes())
    process.stdin.flush()
    shown = b""
    while b"cost?\n" not in shown.replace(b"\xe2\x80\xa6 How much does a night in Casa Garza cost?\n", b""):
        shown += process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert ended(process) == (
        130,
        "",
        "capibara: stopping; press Ctrl-C again to end at once\ncapibara: stopped; what was said until then is shown\n",
    )


@fixture
def test_talk_leaves_a_silent_pipe(start):
    process = start(COMMAND, "talk", "--audio", "-", "--mute", "--set", f"voice.model={MODEL}", *TEXT_ONLY, "--json")
    process.stdin.write(audio(0.5, "How much does a night in Casa Garza", 2.0).tobytes())
    process.stdin.flush()
    kinds = []
    while "answered" not in kinds:
        kinds.append(json.loads(process.stdout.readline())["event"])
    process.send_signal(signal.SIGINT)
    code, out, _ = ended(process)
    assert code == 130
    assert json.loads(out.splitlines()[-1])["event"] == "end"
