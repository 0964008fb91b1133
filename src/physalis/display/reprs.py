"""reprs: what a notebook shows of an object that is the last line of a cell."""

from typing import Any

import physalis
from physalis.errors import BadInput


class Displayed:
    """Shown in Jupyter, VS Code, Colab and marimo as ``physalis.show`` shows it. Without the extra ``notebook`` it is
    its ``repr``, as in a terminal."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        try:
            made = physalis.show(self)._repr_mimebundle_(include=include, exclude=exclude)
        except BadInput:
            made = {}
        data = made[0] if isinstance(made, tuple) else made or {}
        return {**data, "text/plain": repr(self)}

    def _display_(self) -> Any:
        # marimo's own way
        try:
            return physalis.show(self)
        except BadInput:
            return repr(self)
