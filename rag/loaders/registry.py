"""Which loader reads which file: by suffix, each loader imported when it is first needed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ...config.schema import RagSettings
from ..errors import DocumentError

if TYPE_CHECKING:
    from ..protocols import DocumentLoader

_LOADERS = {
    ".txt": "text.TextLoader",
    ".text": "text.TextLoader",
    ".md": "markdown.MarkdownLoader",
    ".markdown": "markdown.MarkdownLoader",
    ".html": "html.HtmlLoader",
    ".htm": "html.HtmlLoader",
    ".xhtml": "html.HtmlLoader",
    ".pdf": "pdf.PdfLoader",
    ".docx": "docx.DocxLoader",
    ".docm": "docx.DocxLoader",
    ".csv": "delimited.DelimitedLoader",
    ".tsv": "delimited.DelimitedLoader",
    ".tab": "delimited.DelimitedLoader",
}

SUPPORTED_SUFFIXES: tuple[str, ...] = tuple(_LOADERS)
"""File name endings that can be read, lower case, with the dot."""


def loader_for(path: Path, settings: RagSettings) -> DocumentLoader:
    """The loader of ``path``'s format, told by its suffix.

    Raises:
        DocumentError: the format is not supported; the message names those that are.
    """
    suffix = path.suffix.lower()
    if suffix not in _LOADERS:
        named = f"format {suffix} is" if suffix else "a file without suffix is"
        raise DocumentError(f"{named} not supported; supported are {', '.join(SUPPORTED_SUFFIXES)}")
    module, name = _LOADERS[suffix].split(".")
    return getattr(import_module(f".{module}", __package__), name)(settings)
