"""converting: from another tool's files to a dictionary folder, or from dictionary folders to another tool's files."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from physalis import artifact, dictionaries
from physalis.artifact import Manifest, untrusted
from physalis.artifact.untrusted import shown
from physalis.errors import BadInput
from physalis.exchange.checks import Check
from physalis.exchange.formats import (
    circuit_tracer,
    dictionary_learning,
    gemma,
    llamascope,
    openai,
    plain,
    saelens,
    sparsify,
)
from physalis.exchange.imported import Imported
from physalis.exchange.judging import Verdict, same_places, verdict
from physalis.exchange.readings import measure, rows_of
from physalis.models import Model
from physalis.models.sources.packages import own_name
from physalis.recording import stream
from physalis.runtime.device import default_device
from physalis.site import Site
from physalis.training.training import Source

READERS: tuple[ModuleType, ...] = (
    saelens, sparsify, dictionary_learning, llamascope, circuit_tracer, gemma, openai, plain,
)  # fmt: skip
"""Each has NAME, ``recognises(path)`` and ``read(path, scale=)``. A new format is one file and one word here."""
WRITERS: tuple[ModuleType, ...] = (saelens, sparsify, circuit_tracer)
"""Each has NAME and ``write(folders, out)``, which gives what is to be written."""
OURS = "physalis"
KIND = "export"
"""Of a folder with another tool's files that was written here."""
BELOW = ("*/", "*/*/", "*/*/*/")
"""Where dictionaries are looked for to name them: a whole disk would take too long."""
BOOKKEEPING = (artifact.MANIFEST, artifact.JOB, artifact.LOCK)
STREAMED = 20_000  # tokens that go through a model that is given without activations


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What was made: the folder, the format it came from or went to, and how far it was checked."""

    folder: Path
    format: str
    manifest: Manifest | None = None
    """Of the dictionary, where one was made."""
    verdict: Verdict | None = None
    assumptions: tuple[str, ...] = ()


def recognise(path: Path | str) -> str:
    """The name of the format that the files are in. Raises BadInput naming those there are."""
    path = Path(path)
    if not path.exists():
        raise BadInput(
            f"There is no {path} here. Check the path; what is on the hub, or in a tool's list of releases, has to be "
            "downloaded first: hf download OWNER/NAME --local-dir DIR, then convert the dictionary's own folder in DIR."
        )
    if not path.is_dir():
        untrusted.open_file(path).close()  # and no pipe, on which reading never ends
    kind = artifact.kind_of(path) if (path / artifact.MANIFEST).is_file() else None
    if kind == "dictionary":
        return OURS
    if kind not in (None, KIND):
        raise BadInput(
            f"{path} holds {artifact.in_words(kind)} of ours, and no dictionary. Give a dictionary's folder."
        )
    for reader in READERS:
        if reader.recognises(path):
            return reader.NAME
    below = sorted(str(p.parent.relative_to(path)) for up in BELOW for p in path.glob(f"{up}cfg.json"))
    hint = f" Below it there are dictionaries in {', '.join(below[:4])}: give one of them." if below else ""
    raise BadInput(f"{path} holds no format that is known here ({_names(READERS)}).{hint}")


def read(path: Path | str, *, format: str | None = None, scale: float | None = None) -> Imported:
    """A dictionary out of another tool's files, with what they claim and what had to be assumed.

    ``format`` is found by looking at the files unless given. ``scale`` is what the tool multiplied its inputs by while
    training, for files that say that it did and not by what. Raises BadInput for what has no counterpart here.
    """
    reader = _named(READERS, format or recognise(path))
    try:
        found = reader.read(Path(path), scale=scale)
        found.check()
        return found
    except BadInput:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        said = shown((str(error) or "no more is said").splitlines()[0])[1:-1]
        raise BadInput(
            f"{path} cannot be read as {reader.NAME} ({type(error).__name__}: {said}). Its files are damaged, or of a "
            "version that this reader does not know: fetch them again, or name another format with --from."
        ) from error


def write(folders: Sequence[Path | str], out: Path | str, *, to: str) -> Manifest:
    """Dictionaries of ours as another tool stores them; several folders where the format holds one a layer. Run again
    after a kill it writes the same; the manifest beside the files says what they were made of.

    Raises BadInput, before anything is written, for what the format cannot say.
    """
    writer = _named(WRITERS, to)
    sources, folder = [Path(each) for each in folders], Path(out)
    made = {f"dictionary {i}" if len(sources) > 1 else "dictionary": artifact.read(source, "dictionary").hash
            for i, source in enumerate(sources)}  # fmt: skip
    written = writer.write(sources, folder)
    job = {"to": writer.NAME, "dictionaries": list(made.values())}
    with artifact.claim(folder, KIND, job) as done:
        if done is None:
            about = Manifest(kind=KIND, config={"to": writer.NAME}, inputs=made)
            done = artifact.finish(folder, about, written.put(folder))
    return done


def convert(
    source: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    format: str | None = None,
    to: str | None = None,
    activations: Source | None = None,
    model: Model | None = None,
    scale: float | None = None,
    sites: Sequence[str] = (),
    sites_out: Sequence[str] = (),
    device: torch.device | str | None = None,
) -> list[Conversion]:
    """Turn another tool's files into a dictionary in ``out``, with a verdict on it in its manifest; or, with ``to``,
    dictionaries of ours into another tool's files. A set with one transcoder a layer becomes a folder for each.

    With ``activations`` of its site the verdict measures; with ``model`` alone it records some of Python's own library
    for that. Either ties the dictionary to its model, so that what belongs to another is refused later. ``sites`` says
    where it reads, and ``sites_out`` where a transcoder writes, for files that do not. ``scale`` is as for ``read``.
    The verdict is measured on ``device``: the model's unless given. The same conversion again is only opened.
    Raises BadInput as ``read`` and ``write`` do, and for sites that contradict the files or the activations.
    """
    sources = [Path(each) for each in ([source] if isinstance(source, str | Path) else source)]
    if not sources:
        raise BadInput(
            "Name a SOURCE: the files of a dictionary that another tool made, or a dictionary of ours and --to."
        )
    if to is not None and to != OURS:
        done = write(sources, out, to=to)
        return [Conversion(folder=Path(out), format=done.config["to"])]
    if len(sources) != 1:
        raise BadInput(
            f"Files of other tools are converted one by one; received {len(sources)}. Or name a format with --to."
        )
    path = sources[0]
    name = format or recognise(path)
    if name == OURS:
        raise BadInput(f"{path} is a dictionary of ours already. Name a format to write with --to: {_names(WRITERS)}.")
    name = _named(READERS, name).NAME
    asked = _Asked(
        format=name, activations=activations, model=model, scale=scale, reads=tuple(map(Site.parse, sites)),
        writes=tuple(map(Site.parse, sites_out)),
        device=torch.device(device) if device is not None else model.device if model is not None else default_device(),
    )  # fmt: skip
    if name == circuit_tracer.NAME and path.is_dir() and not (path / "W_enc_0.safetensors").exists():
        found = circuit_tracer.layers(path)
        if activations is not None or sites:
            raise BadInput(
                f"{path} holds {len(found)} transcoders, one a layer, and activations are of one. Give one of its "
                f"files with them: {', '.join(each.name for each in found[:4])}."
            )
        return [_convert(each, Path(out) / each.stem, asked) for each in found]
    return [_convert(path, Path(out), asked)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """All that decides a conversion beside the files."""

    format: str
    activations: Source | None
    model: Model | None
    scale: float | None
    reads: tuple[Site, ...]
    writes: tuple[Site, ...]
    device: torch.device


def _convert(path: Path, out: Path, asked: _Asked) -> Conversion:
    scale, source, model = asked.scale, asked.activations, asked.model
    if scale is None and source is not None and asked.format == saelens.NAME and saelens.wants_scale(path):
        scale = saelens.scale_of(source)
    imported = read(path, format=asked.format, scale=scale)
    reads, writes = _places(imported, asked)
    inputs = {} if model is None else {"model": model.fingerprint, "tokenizer": model.tokenizer_fingerprint}
    if model is None and source is not None:
        inputs = {role: source.inputs[role] for role in ("model", "tokenizer") if role in source.inputs}
    came = {
        "format": asked.format, "name": path.name, "files": _digests(path), "claims": imported.claims.to_dict(),
    }  # fmt: skip
    config = {"architecture": type(imported.dictionary).__name__, **_origin(imported, source, model, reads, writes)}
    job = {
        **config, "convert": came, "scale": asked.scale, "inputs": inputs,
        "dictionary": asdict(imported.dictionary.config), "activations": {} if source is None else dict(source.inputs),
    }  # fmt: skip
    if (out / artifact.MANIFEST).exists():  # finished: this very job, or refused
        with artifact.claim(out, "dictionary", job) as done:
            if done is not None:
                return _opened(out, done)
    if source is None and model is not None and reads and all(_holds(model, site) for site in (*reads, *writes)):
        bos = imported.claims.bos is not False
        source = stream(model, model.corpus.at_hand, reads, writes=writes, tokens=STREAMED, bos=bos, held_out=0.0)
        config |= _origin(imported, source, model, reads, writes)
    imported.dictionary.to(asked.device)
    if source is not None:
        imported = _with_measured_k(imported, source)
    found = verdict(imported, source, model)
    config |= {
        "dictionary": asdict(imported.dictionary.config),
        "converted_from": {**came, "assumptions": list(imported.assumptions)},
    }
    with artifact.claim(out, "dictionary", job) as done:
        if done is None:
            file = dictionaries.save(imported.dictionary, out)
            about = Manifest(kind="dictionary", config=config, inputs=inputs, facts={"verdict": found.to_dict()})
            artifact.finish(out, about, [file])
    return _opened(out, artifact.read(out, "dictionary"))


def _opened(out: Path, done: Manifest) -> Conversion:
    """What a finished folder says of its own conversion."""
    came = done.config["converted_from"]
    checks = tuple(Check(**each) for each in done.facts["verdict"])
    return Conversion(
        folder=out,
        format=came["format"],
        manifest=done,
        verdict=Verdict(checks),
        assumptions=tuple(came["assumptions"]),
    )


def _places(imported: Imported, asked: _Asked) -> tuple[tuple[Site, ...], tuple[Site, ...]]:
    """Where it reads, and where it writes if it predicts something else: by the files, or as asked where they are
    silent. Raises BadInput where the two differ, or where what was asked is not enough."""
    claims, shape = imported.claims, imported.dictionary.config
    said = tuple(map(Site.parse, claims.sites))
    for option, given, known in (
        ("--site", asked.reads, said),
        ("--site-out", asked.writes, tuple(map(Site.parse, claims.sites_out)) if claims.transcoder else ()),
    ):
        if given and known and not same_places(list(map(str, given)), list(map(str, known))):
            raise BadInput(
                f"The files say {_listed(known)}; received {option} {_listed(given)}. Leave it out: with --activations "
                "or --model the verdict says which is right."
            )
    reads = said or asked.reads
    writes = tuple(map(Site.parse, claims.sites_out)) if claims.transcoder and said else asked.writes
    if asked.reads and not writes and (claims.transcoder or shape.d_in != shape.d_out):
        raise BadInput("It predicts something else than it reads. Say where that is, too, with --site-out.")
    here = asked.activations.origin.get("site") if asked.activations is not None else None
    if asked.reads and here and not same_places(list(map(str, reads)), [here] if isinstance(here, str) else here):
        raise BadInput(
            f"These activations are of {here}; received --site {_listed(asked.reads)}. Leave one of them out."
        )
    return reads, writes


def _listed(sites: tuple[Site, ...]) -> str:
    return ", ".join(map(str, sites))


def _holds(model: Model, site: Site) -> bool:
    return site.layer is None or site.layer < model.n_layers


def _origin(
    imported: Imported, source: Source | None, model: Model | None, reads: tuple[Site, ...], writes: tuple[Site, ...]
) -> dict[str, Any]:
    """Where it belongs, in the activations' own words where those were given and the files do not say otherwise."""
    here = {} if source is None else source.origin
    own = [own_name(imported.claims.model)] if imported.claims.model else []
    said: dict[str, Any] = {"model": model.name if model is not None else here.get("model", own[0] if own else None)}
    for name, sites in (("site", reads), ("writes", writes)):
        names = list(map(str, sites))
        found = [here[name]] if isinstance(here.get(name), str) else here.get(name)
        if found and (not names or same_places(names, found)):
            names = found
        if names:
            said[name] = names[0] if len(names) == 1 else names
    if "hygiene" in here:
        said["hygiene"] = here["hygiene"]
    return said


def _with_measured_k(imported: Imported, source: Source) -> Imported:
    """The config's k from these activations, where the files state no L0."""
    d = imported.dictionary
    if imported.claims.l0 is not None or (source.d_in, source.d_out) != (d.config.d_in, d.config.d_out):
        return imported
    l0 = measure(d, rows_of(source, d), source.frame.mean_out).l0
    d.config = replace(d.config, k=min(max(1, round(l0)), d.config.n_features - 1))
    kept = tuple(note for note in imported.assumptions if "is a placeholder" not in note)
    return replace(imported, assumptions=(*kept, f"The files state no L0; k = {d.config.k} was measured here."))


def _digests(path: Path) -> dict[str, str]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    if not path.is_file() and artifact.kind_of(path) == KIND:
        files = [p for p in files if p.parent != path or p.name not in BOOKKEEPING]
    return {p.name if path.is_file() else str(p.relative_to(path)): artifact.file_digest(p) for p in files}


def _named(modules: tuple[ModuleType, ...], name: str) -> ModuleType:
    for module in modules:
        if name.replace("_", "-").lower() == module.NAME.replace("_", "-"):
            return module
    only = modules is WRITERS and any(name.replace("_", "-").lower() == m.NAME.replace("_", "-") for m in READERS)
    known = "read here, and not written" if only else "not a format that is known here"
    raise BadInput(f"{shown(name)} is {known}. Choose one of: {_names(modules)}.")


def _names(modules: tuple[ModuleType, ...]) -> str:
    return ", ".join(module.NAME for module in modules)
