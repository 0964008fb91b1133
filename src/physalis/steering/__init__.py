"""Steering: a model run with some of its features edited: texts side by side, and what each strength does and costs."""

from physalis.placement.place import Place
from physalis.steering.dose_curves import DoseResponse, dose_response, measure
from physalis.steering.edits import EDITS, Add, Cap, Clamp, Edit, Project, Scale, Steering, parse_edit
from physalis.steering.texts import Step, chat, completion, steer

__all__ = [
    "EDITS", "Add", "Cap", "Clamp", "DoseResponse", "Edit", "Place", "Project", "Scale", "Steering", "Step", "chat",
    "completion", "dose_response", "measure", "parse_edit", "steer",
]  # fmt: skip
