"""The models that each snapshot searches with."""

from __future__ import annotations

from collections.abc import Iterable

from ..config.schema import RagSettings, Settings
from ..config.subscribers import Objection
from ..rag.errors import RagError
from ..rag.library import Library
from ..rag.parts import SearchParts


class SearchPart:
    """What searches run with under one state of the settings; opened when first needed."""

    def __init__(self, library: Library, settings: RagSettings) -> None:
        self._library = library
        self._settings = settings
        self._parts: SearchParts | None = None

    def differs(self, settings: RagSettings) -> str:
        """The key to blame where models cannot be opened with ``settings``, which differ from this part's."""
        same_reranker = settings.reranker == self._settings.reranker
        return "rag.extractor" if same_reranker and settings.extractor != self._settings.extractor else "rag.reranker"

    @property
    def asked(self) -> bool:
        return self._parts is not None

    def open(self) -> SearchParts:
        """Light until it is used.

        Raises:
            ModelNotFound: a model's folder is missing or incomplete.
        """
        if self._parts is None:
            self._parts = self._library.parts(self._settings)
        return self._parts


class SearchModels:
    """The `Subscriber` for what searches and reads with encoders. Another embedding model needs a restart."""

    name = "search"
    keys = ("rag.reranker", "rag.extractor", "rag.embedding_model", "rag.embedding_backend", "rag.embedding_batch")

    def __init__(self, library: Library) -> None:
        self._library = library

    def check(self, settings: Settings) -> Iterable[Objection]:  # noqa: ARG002 -- nothing but opening tells
        return ()

    def prepare(self, settings: Settings, before: SearchPart | None) -> SearchPart:
        """What takes the place of models that are loaded is loaded too."""
        part = SearchPart(self._library, settings.rag)
        if before is not None:
            try:
                found = part.open()
                if before.asked:
                    found.warm_up()
            except RagError as error:
                raise Objection(before.differs(settings.rag), str(error)) from error
        return part

    def activate(self, part: SearchPart) -> None:
        """Nothing to do: searches ask the part."""

    def retire(self, part: SearchPart) -> None:
        """The models go with the last reference to the part."""
