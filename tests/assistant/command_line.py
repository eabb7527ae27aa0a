"""The command line in a process of its own, and the documents that the tests of its commands share."""

from __future__ import annotations

import subprocess
import sys

HARBOUR = """# Harbour rules of Skarvik

The harbour master of Skarvik is Ingrid Solheim. She holds the keys to the north crane.

## Berths

Berth seven is kept free for the rescue boat Havørn. Visitors pay 140 crowns a night.
"""
BAKERY = "The bakery in Skarvik opens at five in the morning. Its rye bread is baked by Tomas Lindqvist.\n"
WITHOUT_MODEL = ("--set", "model.path=/nowhere/model.gguf")
PROGRAM = (sys.executable, "-c", "import sys; from capibara.assistant.cli import main; sys.exit(main())")


def start(*arguments: str, **options) -> subprocess.Popen[str]:
    """Run ``capibara`` with ``arguments``; what it writes can be read as text."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*PROGRAM, *arguments], text=True, **pipes, **options)


def table(out: str) -> dict[str, list[str]]:
    """The cells of each line by the first of them."""
    return {key: cells for key, *cells in (line.split("\t") for line in out.splitlines())}
