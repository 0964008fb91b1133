"""formats: other tools' files, one tool a file: dictionaries read and written, and atlases as they import them.

Each says which folders are its own (``recognises``) and reads them (``read``); some write. ``exchange.convert`` tries
them in turn; ``neuronpedia`` and ``saedashboard`` are of atlases. docs/exchange.md.
"""

__all__ = [
    "circuit_tracer", "crosscoders", "dictionary_learning", "gemma", "llamascope", "neuronpedia", "openai", "plain",
    "saedashboard", "saelens", "sparsify",
]  # fmt: skip
