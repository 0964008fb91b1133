"""What `train` reads, as it was named on the command line, and the config of a dictionary that fits it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from physalis import dictionaries
from physalis.activations import Activations, Pairs, Stored
from physalis.artifact import Manifest
from physalis.cli.arguments.amounts import count_features
from physalis.cli.arguments.settings import read_settings
from physalis.dictionaries.base import Shape


def opened(reads: Sequence[Path], writes: Sequence[Path] | None) -> Stored:
    """The recordings, joined where there are several."""
    return Activations.open(reads[0]) if len(reads) == 1 and not writes else Pairs.open(reads, writes or None)


def config_for(
    source: Stored,
    features: str | None,
    settings: Sequence[str] = (),
    *,
    architecture: str = "topk",
    **options: Any,
) -> Shape:
    """What the source decides is filled in: widths, and for those that know of them its sites or layers."""
    reads, writes = ([len(part.mean) for part in side] for side in source.parts)
    shape = dictionaries.across(architecture, reads, writes)
    shape["n_features"] = count_features(features, source.d_in)
    return dictionaries.make(architecture, {**shape, **read_settings(settings, [architecture]), **options}).config


def config_of(about: Manifest) -> Shape:
    """The config of the dictionary that a manifest is of."""
    return dictionaries.make(about.config["architecture"], about.config["dictionary"]).config
