"""Every setting says when a change applies; each live one has a test here that changes it and sees the effect."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import get_args

import pytest

from capibara.config.fields import Applies
from capibara.config.keys import Setting, all_settings

from .observing import live_settings


@pytest.mark.parametrize("setting", all_settings(), ids=lambda setting: setting.key)
def test_a_setting_says_when_a_change_applies(setting: Setting):
    assert setting.applies in get_args(Applies)


def test_every_live_setting_has_a_test_that_observes_a_change():
    files = Path(__file__).parent.glob("test_*.py")
    modules = [importlib.import_module(f"{__package__}.{file.stem}") for file in files]
    tests = [test for module in modules for name, test in vars(module).items() if name.startswith("test_")]
    observed = frozenset().union(*(getattr(test, "observes", frozenset()) for test in tests))
    assert observed == {setting.key for setting in live_settings()}
