"""What functions take: their parameters, and in place of a record of options its fields."""

import inspect
from collections.abc import Callable
from typing import Any

from physalis.cli.arguments.asked import Asked
from physalis.recording import Reading
from physalis.training import Finetuning, Training


def defaults(of: Callable) -> dict[str, Any]:
    """What a function takes, or a class has, with its default, ``inspect.Parameter.empty`` where it must be given."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(of).parameters.items():
        if isinstance(parameter.default, Reading | Training | Finetuning | Asked):
            found |= vars(parameter.default)
        elif parameter.kind is not parameter.VAR_KEYWORD:
            found[name] = parameter.default
    return found
