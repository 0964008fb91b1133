"""Worlds whose truth is known, and how far a dictionary is from it."""
