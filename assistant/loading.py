"""Loads the language model beside other work, and keeps the one that the settings name."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from ..config.schema import ModelSettings
from ..model.protocol import LanguageModel

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready, or the reason (one line) why there is none."""

    model: LanguageModel | None
    reason: str = ""


class ModelLoader:
    """Opens and warms up models on a thread of its own; a failure is tried again with the next request."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="capibara-model")
        self._lock = threading.Lock()
        self._settings: ModelSettings | None = None
        self._future: Future[LoadedModel] | None = None

    def request(self, settings: ModelSettings) -> Future[LoadedModel]:
        """The model for ``settings``, loading or ready; the one before is let go when its requests are done."""
        with self._lock:
            failed = self._future is not None and self._future.done() and self._future.result().model is None
            if self._future is None or failed or settings != self._settings:
                self._settings = settings
                self._future = self._worker.submit(_load, settings)
            return self._future

    def close(self) -> None:
        """Wait for a load in progress and let the model go."""
        self._worker.shutdown(cancel_futures=True)
        self._future = None


def _load(settings: ModelSettings) -> LoadedModel:
    from ..model import ModelError, open_model

    try:
        model = open_model(settings)
        model.warm_up()
    except ModelError as error:
        return LoadedModel(None, str(error))
    except Exception as error:  # noqa: BLE001 -- a checkpoint is a stranger's file, and quotes need no model
        _LOG.debug("loading %s failed", settings.path, exc_info=True)
        return LoadedModel(None, f"{settings.path} cannot be loaded ({type(error).__name__}: {error})")
    return LoadedModel(model)
