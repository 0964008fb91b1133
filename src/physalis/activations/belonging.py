"""belonging: whether a dictionary reads what some activations are."""

import sys

from physalis.activations.store import Activations
from physalis.artifact import Manifest
from physalis.errors import BadInput


def check_belongs(dictionary: Manifest, activations: Activations) -> None:
    """Raise BadInput unless the dictionary reads what these activations are: same model, tokenizer and site.

    One that was converted from another tool's files need not say: that it belongs is then taken on trust, aloud.
    """
    manifest = activations.manifest
    converted = "converted_from" in dictionary.config
    unsaid = [role for role in ("model", "tokenizer") if role not in dictionary.inputs] if converted else []
    unsaid += ["site"] if converted and dictionary.config.get("site") is None else []
    for role in ("model", "tokenizer"):
        if role not in unsaid and dictionary.inputs[role] != manifest.inputs[role]:
            raise BadInput(
                f"The dictionary was trained on another {role} ({dictionary.config['model']!r}) than these activations "
                f"({manifest.config['model']!r}). Use the activations it was trained on, or record that model's."
            )
    if "site" not in unsaid and dictionary.config["site"] != str(activations.site):
        raise BadInput(
            f"The dictionary reads {dictionary.config['site']}, these activations are of {activations.site}. "
            f"Record {dictionary.config['site']}, or train a dictionary for {activations.site}."
        )
    if unsaid:
        print(
            f"The dictionary was converted and does not say its {' and '.join(unsaid)}: that it belongs to these "
            "activations is taken on trust. Convert it with --model and --activations to have that checked.",
            file=sys.stderr,
        )
