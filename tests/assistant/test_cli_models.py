"""``capibara models``: the real command in a process of its own, against a real hub on 127.0.0.1."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from capibara.assistant.hub import HubError, HubFile, wanted_files

from .hub_server import COMMIT, Hub, serving

CONFIG = b'{"model_type": "tiny"}'
WEIGHTS = random.Random(5).randbytes(12_000_000)


@pytest.fixture
def hub():
    files = {"config.json": CONFIG, "model.safetensors": WEIGHTS, "sub/notes.txt": b"", "model.onnx": b"other"}
    with serving(Hub(files=files, large=frozenset({"model.safetensors"}))) as hub:
        yield hub


class Command:
    """Runs ``capibara`` with a hub cache and a data folder of its own."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.cache = folder / "hub"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "CAPIBARA_"))}
        self._environ = kept | {
            "HF_ENDPOINT": endpoint,
            "HF_HUB_CACHE": str(self.cache),
            "HF_HOME": str(folder / "home"),
            "CAPIBARA_DATA_DIR": str(folder / "data"),
            "HF_HUB_DOWNLOAD_TIMEOUT": "5",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        code = "import sys; from capibara.assistant.cli import main; sys.exit(main())"
        return subprocess.Popen(
            [sys.executable, "-c", code, "models", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environ,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    @property
    def snapshot(self) -> Path:
        return self.cache / "models--tiny--model" / "snapshots" / COMMIT

    @property
    def parts(self) -> list[Path]:
        return list((self.cache / "models--tiny--model" / "blobs").glob("*.capibara-part"))


@pytest.fixture
def command(tmp_path, hub) -> Command:
    return Command(tmp_path, hub.url)


def test_pull_fetches_every_useful_file_into_the_hubs_cache(command, hub):
    done = command.run("pull", "tiny/model", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["folder"] == str(command.snapshot)
    assert document["fetched"] == document["bytes"] == len(CONFIG) + len(WEIGHTS)
    found = {str(p.relative_to(command.snapshot)): p.read_bytes() for p in command.snapshot.rglob("*") if p.is_file()}
    assert found == {"config.json": CONFIG, "model.safetensors": WEIGHTS, "sub/notes.txt": b""}


def test_a_pulled_model_is_found_by_the_hubs_own_client_without_a_network(command):
    assert command.run("pull", "tiny/model").returncode == 0
    from huggingface_hub import snapshot_download, try_to_load_from_cache

    assert snapshot_download("tiny/model", cache_dir=command.cache, local_files_only=True) == str(command.snapshot)
    cached = try_to_load_from_cache("tiny/model", "config.json", cache_dir=command.cache)
    assert cached == str(command.snapshot / "config.json")


def test_a_pulled_model_is_listed_as_present(command):
    options = ("list", "--json", "--set", "rag.reranker=tiny/model")
    before = json.loads(command.run(*options).stdout)["models"]
    command.run("pull", "tiny/model")
    after = json.loads(command.run(*options).stdout)["models"]

    def reranker(models):
        return next(model for model in models if model["role"] == "reranker")

    assert (reranker(before)["present"], reranker(after)["present"]) == (False, True)
    assert "capibara models pull tiny/model" in reranker(before)["location"]
    assert reranker(after)["bytes"] == len(CONFIG) + len(WEIGHTS)


def test_a_speech_model_is_pulled_by_its_size_and_then_found(tmp_path):
    files = dict.fromkeys(("config.json", "model.bin", "tokenizer.json", "vocabulary.txt"), b"{}")
    repository = Hub(files=files, large=frozenset({"model.bin"}), name="Systran/faster-whisper-small")
    with serving(repository) as hub:
        command = Command(tmp_path, hub.url)
        before, pull, after = (
            command.run(*words) for words in (("list", "--json"), ("pull", "small"), ("list", "--json"))
        )
    assert pull.returncode == 0, pull.stderr
    states = [
        next(model for model in json.loads(done.stdout)["models"] if model["role"] == "speech model")
        for done in (before, after)
    ]
    assert [state["present"] for state in states] == [False, True]
    assert "run `capibara models pull small`" in states[0]["location"]


def test_a_second_pull_checks_what_is_there_and_fetches_nothing(command, hub):
    command.run("pull", "tiny/model")
    hub.fetched.clear()
    done = command.run("pull", "tiny/model", "--json")
    assert (json.loads(done.stdout)["fetched"], hub.fetched) == (0, [])


def test_a_file_damaged_in_the_cache_is_fetched_again(command, hub):
    command.run("pull", "tiny/model")
    weights = command.snapshot / "model.safetensors"
    weights.resolve().write_bytes(bytes(len(WEIGHTS)))
    hub.fetched.clear()
    assert command.run("pull", "tiny/model").returncode == 0
    assert hub.fetched == [("model.safetensors", None)]
    assert weights.read_bytes() == WEIGHTS


@pytest.mark.parametrize("path", ["config.json", "model.safetensors"])
def test_a_file_that_arrives_damaged_is_refused_and_not_kept(command, hub, path):
    hub.altered[path] = b"?" * len(hub.files[path])
    done = command.run("pull", "tiny/model")
    assert done.returncode == 1
    assert done.stderr == (
        f"capibara: tiny/model: {path} arrived damaged (its checksum differs from the hub's); pull it again\n"
    )
    assert command.parts == []
    assert not (command.snapshot / path).exists()


def stalled(command: Command, hub: Hub) -> subprocess.Popen[str]:
    """A pull that hangs after most of the weights have arrived and been written."""
    hub.stall_after["model.safetensors"] = 11_000_000
    process = command.start("pull", "tiny/model")
    deadline = time.monotonic() + 60
    while not (command.parts and command.parts[0].stat().st_size > 0):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_a_pull_that_was_killed_goes_on_where_it_stopped(command, hub):
    process = stalled(command, hub)
    process.kill()
    process.communicate()
    have = command.parts[0].stat().st_size
    hub.fetched.clear()
    done = command.run("pull", "tiny/model", "--json")
    assert hub.fetched == [("model.safetensors", f"bytes={have}-"), *hub.fetched[1:]]
    assert json.loads(done.stdout)["fetched"] == len(WEIGHTS) - have
    assert (command.snapshot / "model.safetensors").read_bytes() == WEIGHTS


def test_a_damaged_beginning_is_thrown_away_and_fetched_whole(command, hub):
    process = stalled(command, hub)
    process.kill()
    process.communicate()
    part = command.parts[0]
    part.write_bytes(bytes(part.stat().st_size))
    assert command.run("pull", "tiny/model").returncode == 0
    assert (command.snapshot / "model.safetensors").read_bytes() == WEIGHTS


def test_a_dropped_connection_is_taken_up_again_within_one_pull(command, hub):
    hub.drop_after["model.safetensors"] = 11_000_000
    done = command.run("pull", "tiny/model")
    assert done.returncode == 0, done.stderr
    ranges = [wanted for path, wanted in hub.fetched if path == "model.safetensors"]
    assert ranges[0] is None
    assert ranges[1] is not None
    assert (command.snapshot / "model.safetensors").read_bytes() == WEIGHTS


def test_ctrl_c_stops_a_pull_and_keeps_what_has_arrived(command, hub):
    process = stalled(command, hub)
    process.send_signal(signal.SIGINT)
    assert "stopping" in process.stderr.readline()
    hub.released.set()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the next pull goes on from here" in err
    assert command.parts[0].stat().st_size > 0


def test_a_second_ctrl_c_ends_at_once(command, hub):
    process = stalled(command, hub)
    process.send_signal(signal.SIGINT)
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_the_configured_token_is_sent_and_never_shown(command, hub):
    hub.token = "hf_s3cret"
    refused = command.run("pull", "tiny/model", "--set", "keys.hub=hf_wr0ng", "--verbose")
    assert refused.returncode == 1
    assert "private (set keys.hub)" in refused.stderr
    assert "hf_wr0ng" not in refused.stderr + refused.stdout
    accepted = command.run("pull", "tiny/model", "--set", "keys.hub=hf_s3cret")
    assert accepted.returncode == 0, accepted.stderr


@pytest.mark.parametrize(
    ("name", "expected"),
    [("tiny/other", "tiny/other: no such model on"), ("a/b/c", "a/b/c: not a model of the hub")],
)
def test_a_wrong_name_is_one_line(command, name, expected):
    done = command.run("pull", name)
    assert done.returncode == 1
    assert done.stderr.startswith(f"capibara: {expected}")
    assert done.stderr.count("\n") == 1


def test_an_unreachable_hub_is_one_line_that_names_model_and_cause(tmp_path):
    done = Command(tmp_path, "http://127.0.0.1:9").run("pull", "tiny/model", "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["type"]) == (1, "HubError")
    assert error["message"].startswith("tiny/model: cannot reach http://127.0.0.1:9 (")
    assert "refused" in error["message"]


def files(*paths: str) -> list[HubFile]:
    return [HubFile(path, 1, "0" * 40, None) for path in paths]


@pytest.mark.parametrize(
    ("paths", "include", "wanted"),
    [
        ([], [], []),
        (["config.json", "pytorch_model.bin"], [], ["config.json", "pytorch_model.bin"]),
        (["model.safetensors", "pytorch_model.bin", "tf_model.h5", "onnx/model.onnx"], [], ["model.safetensors"]),
        (["model.bin", "vocabulary.txt"], [], ["model.bin", "vocabulary.txt"]),
        (["model.bin", "vocabulary.json", "model.safetensors", "x.bin"], [], ["model.bin", "vocabulary.json"]),
        (["a.Q4.gguf"], [], ["a.Q4.gguf"]),
        (["a.Q4.gguf", "a.Q8.gguf", "README.md"], ["*Q4*"], ["a.Q4.gguf"]),
    ],
)
def test_only_one_set_of_weights_is_wanted(paths, include, wanted):
    assert [file.path for file in wanted_files("m", files(*paths), include)] == wanted


@pytest.mark.parametrize(
    ("paths", "include", "message"),
    [
        (["a.Q4.gguf", "a.Q8.gguf"], [], "choose with --include: a.Q4.gguf, a.Q8.gguf"),
        (["a.gguf"], ["*.bin"], "no file fits"),
        (["../../escape"], [], "outside the model's folder"),
        (["/etc/passwd"], [], "outside the model's folder"),
    ],
)
def test_an_unclear_or_dangerous_choice_is_refused(paths, include, message):
    with pytest.raises(HubError, match=message.replace("*", r"\*")):
        wanted_files("m", files(*paths), include)
