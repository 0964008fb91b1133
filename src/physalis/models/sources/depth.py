"""depth: how many layers a model has, as far as its config.json on this machine says: before torch is there."""

from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from physalis.artifact import read_json
from physalis.errors import BadInput
from physalis.models.sources.packages import cache_folder
from physalis.site import Site

CONFIG = "config.json"
KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""What architectures call the number of their layers."""


def check_layer(name: str, n_layers: int, site: Site) -> None:
    """Raises BadInput for a site of a layer that a model of so many has not."""
    if site.layer is not None and site.layer >= n_layers:
        raise BadInput(
            f"{name} has {n_layers} layers, L0 to L{n_layers - 1}; received {site}. "
            f"Choose a layer in that range, for instance L{n_layers // 3}.{site.name}."
        )


def told_layers(name: str) -> int | None:
    """How many layers the model of that name has at most; None where no config.json of this machine says so."""
    for path in _configs(name):
        try:
            found = _layers(read_json(path))
        except BadInput:
            continue
        if found:
            return found
    return None


def _configs(name: str) -> list[Path]:
    if name == "smollm2":
        return sorted(cache_folder().glob(f"smollm2-*/{CONFIG}"))
    path = Path(name).expanduser()
    if path.is_dir():
        return [path / CONFIG] if (path / CONFIG).is_file() else []
    try:
        cached = try_to_load_from_cache(name, CONFIG)
    except HFValidationError:
        return []
    return [Path(cached)] if isinstance(cached, str) else []


def _layers(said: Any) -> int:
    if not isinstance(said, dict):
        return 0
    own = [said[key] for key in KEYS if type(said.get(key)) is int]
    return max([*own, _layers(said.get("text_config"))])
