"""sources: where a model comes from: a package, a hub, a folder or a GGUF file (``loading``), and what a
stranger's claims to be (``screening``).
"""

__all__ = ["depth", "gguf", "loading", "packages", "screening"]
