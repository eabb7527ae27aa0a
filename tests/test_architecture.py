"""The rules of the house: which room may import which, and what an import must not cost."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "config": set(),
    "model": {"config"},
    "rag": {"config"},
    "voice": {"config"},
    "assistant": {"config", "model", "rag", "voice"},
}
HEAVY = (
    "torch",
    "jax",
    "chromadb",
    "openvino",
    "transformers",
    "sentence_transformers",
    "faster_whisper",
    "ctranslate2",
    "onnxruntime",
    "av",
)


def rooms_imported(source: str, module: tuple[str, ...]) -> set[str]:
    """The rooms that the code of ``module`` (its parts below ``capibara``) imports, at any depth of the code."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        targets = []
        if isinstance(node, ast.Import):
            targets = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = ("capibara", *module)[: -node.level] if node.level else ()
            base = package + tuple((node.module or "").split(".") if node.module else ())
            targets = [(*base, alias.name) for alias in node.names]
        found |= {target[1] for target in targets if target[0] == "capibara" and len(target) > 1}
    return found & set(MAY_IMPORT)


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_it_may(room):
    broken = []
    for file in modules(room):
        module = file.relative_to(ROOT).with_suffix("").parts
        for other in rooms_imported(file.read_text("utf-8"), module) - MAY_IMPORT[room] - {room}:
            broken.append(f"{file.relative_to(ROOT)} imports {other}")
    assert broken == []


@pytest.mark.parametrize(
    ("source", "module", "expected"),
    [
        ("import json", ("rag", "x"), set()),
        ("from ..model.protocol import Usage", ("rag", "x"), {"model"}),
        ("from .. import model", ("rag", "x"), {"model"}),
        ("from ...assistant import y", ("rag", "loaders", "x"), {"assistant"}),
        ("from ..values import Block", ("rag", "loaders", "x"), {"rag"}),
        ("from . import values", ("rag", "__init__"), {"rag"}),
        ("def f():\n    import capibara.voice.vad", ("rag", "x"), {"voice"}),
        ("from capibara import model, config", ("rag", "x"), {"model", "config"}),
        ("import model", ("rag", "x"), set()),
    ],
)
def test_the_rule_sees_every_way_to_import(source, module, expected):
    assert rooms_imported(source, module) == expected


def run(code: str, *arguments: str) -> dict:
    """What ``code`` prints as JSON in a fresh interpreter, away from the repository."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd="/", check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


WATCHED = """
import importlib, json, sys
sockets = []
sys.addaudithook(lambda event, arguments: event.startswith("socket.") and sockets.append(event))
importlib.import_module(sys.argv[1])
print(json.dumps({"modules": sorted(sys.modules), "sockets": sockets}))
"""


@pytest.mark.parametrize(
    "package", ["capibara.assistant", "capibara.rag", "capibara.model", "capibara.voice", "capibara.config"]
)
def test_importing_a_room_loads_nothing_heavy_and_opens_no_socket(package):
    loaded = run(WATCHED, package)
    assert [name for name in HEAVY if name in loaded["modules"]] == []
    assert loaded["sockets"] == []


@pytest.mark.parametrize("room", ["config", "model", "rag", "voice"])
def test_a_room_can_be_used_alone(room):
    loaded = {name.split(".")[1] for name in run(WATCHED, f"capibara.{room}")["modules"] if "capibara." in name}
    assert loaded <= MAY_IMPORT[room] | {room}


OFFLINE = """
import json, os, sys, tempfile
from pathlib import Path
os.environ.pop("CI", None)
spoken = []
watched = ("os.fork", "os.posix_spawn", "subprocess.Popen", "socket.connect", "socket.getaddrinfo", "socket.sendto")
sys.addaudithook(lambda event, arguments: event in watched and spoken.append(event))
from capibara.assistant import Assistant
with tempfile.TemporaryDirectory() as folder:
    note = Path(folder, "note.txt")
    note.write_text("The lighthouse of Skarvik was lit in 1871.")
    with Assistant.open(Path(folder, "data"), overrides={"model.path": "/nowhere/model.gguf"}) as assistant:
        assistant.ingest(note)
        answer = assistant.ask("When was the lighthouse lit?")
speech = [name for name in ("faster_whisper", "av", "sounddevice", "webrtcvad", "soxr") if name in sys.modules]
telemetry = "openvino_telemetry" in sys.modules
print(json.dumps({"answer": answer.text, "spoken": spoken, "telemetry": telemetry, "speech": speech}))
"""


def test_nothing_starts_a_process_or_speaks_to_the_network_while_answering():
    seen = run(OFFLINE)
    assert "1871" in seen["answer"]
    assert seen["spoken"] == []
    assert not seen["telemetry"]
    assert seen["speech"] == []


def test_help_is_shown_without_loading_what_commands_need():
    code = (
        "import contextlib, io, json, sys\n"
        "from capibara.assistant.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as shown:\n"
        "    code = main(['--help'])\n"
        "print(json.dumps({'code': code, 'help': shown.getvalue(), 'modules': sorted(sys.modules)}))"
    )
    shown = run(code)
    assert shown["code"] == 0
    assert "ingest" in shown["help"]
    costly = (
        *HEAVY,
        "numpy",
        "pydantic",
        "asyncio",
        "sqlite3",
        "rich.console",
        "huggingface_hub",
        "capibara.assistant.assistant",
    )
    assert [name for name in costly if name in shown["modules"]] == []


def test_every_package_on_disk_is_installed():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    on_disk = {
        "capibara." + ".".join(file.parent.relative_to(ROOT).parts)
        for room in MAY_IMPORT
        for file in (ROOT / room).rglob("__init__.py")
    }
    assert set(project["packages"]) == on_disk
    assert set(project["package-dir"]) == on_disk
