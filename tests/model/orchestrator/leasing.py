"""What the tests of the orchestrator share: models by name that are noted when they are opened, and held back."""

from __future__ import annotations

import threading

from capibara.model import open_model

NAMES = ("a", "b", "c", "d")


class Opener:
    """Opens models, notes which, and keeps those that are asked to wait until they are let through."""

    def __init__(self, cache):
        self._cache = cache
        self.opened: list[str] = []
        self.waits: set[str] = set()
        self.arrived, self.gate = threading.Event(), threading.Event()

    def __call__(self, settings):
        name = settings.path.rpartition("/")[2]
        self.opened.append(name)
        if name in self.waits:
            self.arrived.set()
            assert self.gate.wait(60)
        return open_model(settings, cache=self._cache)


def loaded(orchestrator) -> set[str]:
    return {one.name for one in orchestrator.states() if one.state == "loaded"}


def use(orchestrator, *names):
    for name in names:
        with orchestrator.lease(name) as model:
            assert model.name == name
