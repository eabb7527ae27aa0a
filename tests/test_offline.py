"""Nothing is sent anywhere: with every connection forbidden, documents are read and questions answered."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

PROGRAM = textwrap.dedent("""
    import socket, sys

    tried = []

    def refuse(*arguments, **options):
        tried.append(arguments[1:])
        raise OSError("no connections here")

    for name in ("connect", "connect_ex", "sendto"):
        setattr(socket.socket, name, refuse)
    socket.create_connection = socket.getaddrinfo = refuse

    from capibara.assistant import Assistant

    with Assistant.open(sys.argv[1]) as assistant:
        report = assistant.ingest(sys.argv[2])
        answer = assistant.ask("Where does the spare key hang?")
    assert report.count("added") == 1, report
    assert not answer.degraded, answer.degraded
    assert not tried, tried
    print(answer.text)
""")


def test_ingest_and_ask_work_with_sockets_forbidden(tmp_path):
    note = tmp_path / "note.txt"
    note.write_text("The spare key hangs behind the blue kayak. The dog is called Bruno.")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "data"), str(note)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "behind the blue kayak" in done.stdout


def test_a_program_with_modules_of_the_same_names_uses_the_library(tmp_path):
    """Folders named config, model, rag and voice at the top of the repository shadow nothing of a user's."""
    for name in ("config", "model", "rag", "voice"):
        (tmp_path / f"{name}.py").write_text(f"OWNER = 'the program, not the library: {name}'\n")
    (tmp_path / "note.txt").write_text("The spare key hangs behind the blue kayak. The dog is called Bruno.")
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
            import config, model, rag, voice
            from capibara.assistant import Assistant

            assert all("not the library" in module.OWNER for module in (config, model, rag, voice))
            with Assistant.open("data") as assistant:
                assistant.ingest("note.txt")
                print(assistant.ask("What is the dog called?").text)
        """)
    )
    done = subprocess.run(
        [sys.executable, Path("program.py")], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Bruno" in done.stdout
