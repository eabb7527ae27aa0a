"""Readers of document formats: each turns a file into blocks of text with pages and headings."""

from .registry import SUPPORTED_SUFFIXES, loader_for

__all__ = ["SUPPORTED_SUFFIXES", "loader_for"]
