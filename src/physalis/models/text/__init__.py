"""text: what a model asks of text: ids of its tokenizer (``tokens``), how a text begins (``prompting``), and
documents as contexts of equal length (``packing``).
"""

__all__ = ["corpus", "packing", "prompting", "tokens"]
