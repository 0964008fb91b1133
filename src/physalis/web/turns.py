"""Turns: a model has one forward pass at a time; whoever asks meanwhile waits, and where too many do is sent away."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException

WAITING = 8
"""Questions that wait for the model, at most: each holds a thread that pages need too."""


class Turns:
    """Lets one call at a time use a model, and a few wait. Share one between all that use the same model."""

    def __init__(self, waiting: int = WAITING) -> None:
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(waiting + 1)

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold the model. Raises HTTPException 503 at once where too many wait already."""
        if not self._room.acquire(blocking=False):
            raise HTTPException(503, "The model is busy with other questions. Ask again soon.", {"retry-after": "2"})
        try:
            with self._lock:
                yield
        finally:
            self._room.release()
