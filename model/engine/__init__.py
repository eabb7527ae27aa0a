"""Runs many generations over one device: they join and leave between steps and share the prefixes of their prompts."""
