"""origin: what a dictionary reads, what it writes and of which model, as its manifest says; and the recordings of that.

Every verb that judges, edits or shows a dictionary asks here: an autoencoder writes what it reads, a transcoder writes
another site, a crosscoder reads several sites (or one of several models), a cross-layer transcoder reads and writes
many. What a verb cannot do for one of these it says in a sentence.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from physalis import artifact
from physalis.activations import KIND, TOKENS, Activations, Hygiene, Pairs, Stored
from physalis.artifact import Manifest
from physalis.errors import BadInput
from physalis.models import Model
from physalis.site import Site

Recordings = str | Path | Stored | Sequence[str | Path]
"""A folder of activations, several of them side by side, or what was opened of them already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a dictionary belongs. One converted from another tool's files may say less than all of it."""

    reads: tuple[Site, ...]
    """In the order of its input's columns; empty where the manifest does not say."""
    writes: tuple[Site, ...]
    """In the order of its output's columns; those of ``reads`` for an autoencoder."""
    is_autoencoder: bool
    """Whether it predicts what it reads: nothing else is said to be written."""
    models: tuple[str, ...]
    """The name of the model, or of each site's where they are several; empty where the manifest does not say."""
    model_hash: str | None
    tokenizer_hash: str | None
    hygienes: tuple[Hygiene, ...]
    """The rule of each site that is read, and then of each other one that is written; empty where it is unsaid."""

    @classmethod
    def of(cls, manifest: Manifest) -> "Origin":
        """What the manifest of a dictionary says."""
        said = manifest.config
        reads, writes, models = (listed(said.get(name)) for name in ("site", "writes", "model"))
        names = [*reads, *writes]
        rules = said.get("hygiene") or {}
        if "max_norm" in rules:
            hygienes = (Hygiene.from_dict(rules),)
        else:
            keys = names if len(models) < 2 else [f"{m} {s}" for m, s in zip(models, names, strict=False)]
            hygienes = tuple(Hygiene.from_dict(rules[key]) for key in dict.fromkeys(keys) if key in rules)
        return cls(
            reads=tuple(map(Site.parse, reads)), writes=tuple(map(Site.parse, writes or reads)),
            is_autoencoder=not writes, models=tuple(models), model_hash=manifest.inputs.get("model"),
            tokenizer_hash=manifest.inputs.get("tokenizer"), hygienes=hygienes,
        )  # fmt: skip

    @property
    def model(self) -> str:
        """The model's name, to load it by. Raises BadInput where there are several, or none is named."""
        if len(self.models) != 1:
            raise BadInput(
                f"The dictionary is of {', '.join(self.models) or 'a model that its files do not name'}: "
                "name the one to use with --model."
            )
        return self.models[0]

    def hygiene(self) -> Hygiene:
        """One rule for positions, of the first site that is read; where it is unsaid, all but the first position."""
        return self.hygienes[0] if self.hygienes else Hygiene(max_norm=float("inf"), skip_first=True)

    @property
    def rules(self) -> dict[Site, Hygiene]:
        """The rule of each site that has one."""
        sites = dict.fromkeys([*self.reads, *self.writes])
        return dict(zip(sites, self.hygienes or [self.hygiene()], strict=False))

    def check_model(self, model: Model) -> None:
        """Raise BadInput if the manifest names another model than this one, or another tokenizer."""
        if len(self.models) > 1:
            raise BadInput(
                f"The dictionary reads several models at once ({', '.join(self.models)}); this needs one that a single "
                "model computes. Its features can be compared, not edited or spliced."
            )
        if self.model_hash not in (None, model.fingerprint):
            raise BadInput(
                f"The dictionary belongs to another model ({self.models[0] if self.models else '?'!r}) than "
                f"{model.name}: its directions mean nothing there. Use the model it was trained on."
            )
        if self.tokenizer_hash not in (None, model.tokenizer_fingerprint):
            raise BadInput(
                f"The dictionary was trained on text of another tokenizer than that of {model.name}: the same ids are "
                "other tokens there. Use the tokenizer it was trained with."
            )


def recorded(about: Manifest, activations: Recordings, writes: Recordings | None = None) -> Stored:
    """The recordings of what a dictionary reads and writes, joined, after it was checked that they are that.

    ``activations`` are of the sites it reads, ``writes`` of those it predicts; these need not be given where they stand
    beside the others, as ``record`` puts them. What a converted dictionary does not say is taken on trust, aloud.
    Raises BadInput for other sites, another model or another tokenizer than the dictionary's, naming what is needed.
    """
    origin = Origin.of(about)
    source = _joined(origin, activations, writes)
    unsaid = [role for role in ("model", "tokenizer") if role not in about.inputs]
    for role in ("model", "tokenizer"):
        if role not in unsaid and about.inputs[role] != source.inputs[role]:
            raise BadInput(
                f"The dictionary was trained on another {role} ({about.config.get('model')!r}) than these activations "
                f"({source.origin['model']!r}). Use the activations it was trained on, or record that model's."
            )
    _check_sites(origin, source)
    shape = about.config["dictionary"]
    if (shape["d_in"], shape["d_out"]) != (source.d_in, source.d_out):
        raise BadInput(
            f"The dictionary reads width {shape['d_in']} and writes {shape['d_out']}; these activations have "
            f"{source.d_in} and {source.d_out}. Give recordings of the sites it was made for."
        )
    unsaid += [] if origin.reads else ["site"]
    if unsaid:
        print(
            f"The dictionary was converted and does not say its {' and '.join(unsaid)}: that it belongs to these "
            "activations is taken on trust. Convert it with --model and --activations to have that checked.",
            file=sys.stderr,
        )
    return source


def _joined(origin: Origin, activations: Recordings, writes: Recordings | None) -> Stored:
    if isinstance(activations, Stored) and (origin.is_autoencoder or not isinstance(activations, Activations)):
        return activations
    reads = _folders(activations)
    targets = [] if writes is None else _folders(writes)
    if not targets and not origin.is_autoencoder:
        targets = [_beside(reads[0], site, origin) for site in origin.writes]
    if len(reads) == 1 and not targets:
        return Activations.open(reads[0])
    return Pairs.open(reads, targets or None)


def _folders(given: Recordings) -> list[Path]:
    if isinstance(given, Stored):
        return [each.folder for each in given.reads]
    return [Path(given)] if isinstance(given, str | Path) else [Path(each) for each in given]


def _beside(folder: Path, site: Site, origin: Origin) -> Path:
    """The recording of ``site`` that was made together with the one in ``folder``."""
    read = artifact.read(folder, KIND)
    if place(Site.parse(read.config["site"])) not in map(place, origin.reads):
        wanted = ", ".join(map(str, origin.reads))
        raise BadInput(
            f"The dictionary reads {wanted}, these activations are of {read.config['site']}. Give those of {wanted}, "
            "and with --writes those of what it predicts."
        )
    for other in sorted(folder.resolve().parent.iterdir()):
        if not (other / artifact.MANIFEST).exists() or other == folder.resolve():
            continue
        try:
            found = artifact.read(other, KIND)
        except BadInput:
            continue
        same = found.files.get(TOKENS) == read.files.get(TOKENS) and found.inputs["model"] == read.inputs["model"]
        if same and found.config["site"] == str(site):
            return other
    reads = ", ".join(map(str, origin.reads))
    raise BadInput(
        f"The dictionary predicts {site} from {reads}, and no recording of {site} of the same text stands beside "
        f"{folder}. Record both in one command (--site {' --site '.join(map(str, (*origin.reads, site)))}), or name "
        "it with --writes."
    )


def _check_sites(origin: Origin, source: Stored) -> None:
    read, written = ([part.site for part in side] for side in source.parts)
    pairs = [("reads", origin.reads, read)]
    if not origin.is_autoencoder or written:
        pairs.append(("writes", origin.writes if not origin.is_autoencoder else (), written))
    if origin.is_autoencoder and written:
        raise BadInput("The dictionary rebuilds what it reads and predicts no other site. Leave --writes out.")
    for verb, said, found in pairs:
        ours, theirs = ([place(site) for site in sites] for sites in (said, found))
        if not origin.reads or ours == theirs:
            continue
        wanted, got = (", ".join(map(str, sites)) or "nothing else" for sites in (said, found))
        if sorted(ours) == sorted(theirs):
            raise BadInput(f"The dictionary {verb} {wanted}, in this order. Give their recordings in the same.")
        raise BadInput(
            f"The dictionary {verb} {wanted}, these activations are of {got}. Record {wanted}, or use a dictionary "
            f"for {got}."
        )


def place(site: Site) -> Site:
    """One name for each tensor: what enters a block is what left the one before, and tools name either."""
    return Site("resid_post", site.layer - 1) if site.name == "resid_pre" and site.layer else site


def listed(said: str | list[str] | None) -> list[str]:
    """What a manifest says of its sites or models, which is one name or several."""
    return [said] if isinstance(said, str) else list(said or [])
