"""Dictionaries of one site compared: two side by side (``comparing.comparison``), and a row of them from narrow to wide
as a tree of features (``comparing.growing``). Made with torch, read without it."""

from physalis.comparing.forest import Forest
from physalis.comparing.reader import Comparison

__all__ = ["Comparison", "Forest"]
