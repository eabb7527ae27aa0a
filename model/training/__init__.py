"""Training in JAX: a generic loop (`loop`), what it optimises (objectives), and what it reads and writes.

Import the submodules: nothing is imported here, so that naming the package costs nothing.
"""
