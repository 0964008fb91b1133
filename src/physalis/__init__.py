"""physalis opens up neural networks: activations, dictionaries of features, and an atlas to read them in."""

__version__ = "0.1.0"
