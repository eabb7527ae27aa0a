"""Native code is compiled with the compiler that is there or was asked for, and it is told why there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from capibara.config.paths import cache_dir
from capibara.model.native_library import NativeCodeUnavailable, load_library

QUICKLY = ("-O0",)


@pytest.fixture(scope="module")
def sound():
    try:
        return load_library(cache_dir() / "native")
    except NativeCodeUnavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def calls(sound, tmp_path, monkeypatch):
    """A compiler behind a launcher: what this one was called with, a line for each call."""
    real = next(found for name in ("c++", "g++", "clang++") if (found := shutil.which(name)))
    launcher = tmp_path / "tools" / "launcher"
    launcher.parent.mkdir()
    launcher.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nexec "$@"\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", f"{launcher.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CXX", f"launcher {real} -DANY=1")
    return lambda: (tmp_path / "calls").read_text().splitlines()


def test_cxx_may_have_a_launcher_before_the_compiler_and_options_behind_it(calls, tmp_path, monkeypatch):
    load_library(tmp_path / "native", QUICKLY)
    version, compiled = calls()
    assert version.endswith("-DANY=1 --version")
    assert "-DANY=1 -std=c++17" in compiled
    # With other options it is compiled again, or not at all.
    monkeypatch.setenv("CXX", os.environ["CXX"].replace("-DANY=1", "-march=no-such-processor"))
    with pytest.raises(NativeCodeUnavailable, match="launcher fails"):
        load_library(tmp_path / "native", QUICKLY)


@pytest.mark.parametrize(
    ("given", "said"), [("no-such-compiler -m64", r"looked for no-such-compiler\)"), ("'g++", "CXX cannot be read")]
)
def test_a_cxx_that_names_no_compiler_is_told(tmp_path, monkeypatch, given, said):
    monkeypatch.setenv("CXX", given)
    with pytest.raises(NativeCodeUnavailable, match=said):
        load_library(tmp_path)


def test_a_compiler_that_fails_is_told_with_what_it_says(tmp_path):
    with pytest.raises(NativeCodeUnavailable, match=r"fails: .*no-such-processor"):
        load_library(tmp_path / "native", ("-march=no-such-processor",))
    assert list((tmp_path / "native").iterdir()) == []


def test_kept_code_that_is_damaged_is_told_by_its_file(sound, tmp_path):
    damaged = tmp_path / Path(sound._name).name
    damaged.write_bytes(b"no library")
    with pytest.raises(NativeCodeUnavailable, match=rf"{damaged}.*delete it"):
        load_library(tmp_path)


def test_without_a_compiler_xla_computes_and_the_reason_is_told_once(tmp_path):
    program = (
        "import logging, numpy as np, jax.numpy as jnp; logging.basicConfig(level=logging.INFO)\n"
        "from capibara.model.linear import Int8Linear, quantise_rows\n"
        "product = Int8Linear(*quantise_rows(np.eye(4, dtype=np.float32)))\n"
        "print(product(jnp.ones((1, 4))), product(jnp.ones((2, 4))).shape)\n"
    )
    alone = os.environ | {"PATH": str(tmp_path), "CAPIBARA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=alone, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[[1. 1. 1. 1.]] (2, 4)"
    assert done.stderr.count("there is no C++ compiler (looked for c++, g++, clang++)") == 1
