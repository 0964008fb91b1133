"""converting: from another tool's files to a dictionary folder, or from dictionary folders to another tool's files."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from physalis import artifact, dictionaries
from physalis.artifact import Manifest
from physalis.errors import BadInput
from physalis.exchange import (
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
from physalis.exchange.judging import Verdict, verdict
from physalis.exchange.readings import measure, rows_of
from physalis.models import Model
from physalis.recording import stream
from physalis.site import Site
from physalis.training import Source

READERS: tuple[ModuleType, ...] = (
    saelens, sparsify, dictionary_learning, llamascope, circuit_tracer, gemma, openai, plain,
)  # fmt: skip
"""Each has NAME, ``recognises(path)`` and ``read(path, scale=)``. A new format is one file and one word here."""
WRITERS: tuple[ModuleType, ...] = (saelens, sparsify, circuit_tracer)
"""Each has NAME and ``write(folders, out)``."""
OURS = "physalis"
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
    if (path / artifact.MANIFEST).exists():
        return OURS
    if not path.exists():
        raise BadInput(f"There is no {path}. Check the path; what is on the hub has to be downloaded first.")
    for reader in READERS:
        if reader.recognises(path):
            return reader.NAME
    below = sorted(str(p.parent.relative_to(path)) for p in path.glob("**/cfg.json")) if path.is_dir() else []
    hint = f" Below it there are dictionaries in {', '.join(below[:4])}: give one of them." if below else ""
    raise BadInput(f"{path} holds no format that is known here ({_names(READERS)}).{hint}")


def read(path: Path | str, *, format: str | None = None, scale: float | None = None) -> Imported:
    """A dictionary out of another tool's files, with what they claim and what had to be assumed.

    ``format`` is found by looking at the files unless given. ``scale`` is what the tool multiplied its inputs by while
    training, for files that say that it did and not by what. Raises BadInput for what has no counterpart here.
    """
    reader = _named(READERS, format or recognise(path))
    return reader.read(Path(path), scale=scale)


def write(folders: Sequence[Path | str], out: Path | str, *, to: str) -> None:
    """Dictionaries of ours as another tool stores them; several folders where the format holds one a layer.

    Raises BadInput, before anything is written, for what the format cannot say.
    """
    _named(WRITERS, to).write([Path(folder) for folder in folders], Path(out))


def convert(
    source: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    format: str | None = None,
    to: str | None = None,
    activations: Source | None = None,
    model: Model | None = None,
    scale: float | None = None,
) -> list[Conversion]:
    """Turn another tool's files into a dictionary in ``out``, with a verdict on it in its manifest; or, with ``to``,
    dictionaries of ours into another tool's files. A set with one transcoder a layer becomes a folder for each.

    With ``activations`` of its site the verdict measures; with ``model`` alone it records some of Python's own library
    for that. ``model`` also ties the dictionary to it, so that what belongs to another model is refused later.
    ``scale`` is as for ``read``. Raises BadInput as ``read`` and ``write`` do.
    """
    sources = [Path(each) for each in ([source] if isinstance(source, str | Path) else source)]
    if to is not None and to != OURS:
        write(sources, out, to=to)
        return [Conversion(folder=Path(out), format=to)]
    if len(sources) != 1:
        raise BadInput(
            f"Files of other tools are converted one by one; received {len(sources)}. Or name a format with --to."
        )
    path = sources[0]
    name = format or recognise(path)
    if name == OURS:
        raise BadInput(f"{path} is a dictionary of ours already. Name a format to write with --to: {_names(WRITERS)}.")
    if name == circuit_tracer.NAME and path.is_dir() and not (path / "W_enc_0.safetensors").exists():
        found = circuit_tracer.layers(path)
        return [_convert(each, Path(out) / each.stem, name, None, model, scale) for each in found]
    return [_convert(path, Path(out), name, activations, model, scale)]


def _convert(
    path: Path, out: Path, name: str, activations: Source | None, model: Model | None, scale: float | None
) -> Conversion:
    if scale is None and activations is not None and name == saelens.NAME and saelens.wants_scale(path):
        scale = saelens.scale_of(activations)
    imported = read(path, format=name, scale=scale)
    claims = imported.claims
    if activations is None and model is not None and claims.sites and len(claims.sites) + len(claims.sites_out) > 0:
        activations = _streamed(imported, model)
    if activations is not None:
        imported = _with_measured_k(imported, activations)
    found = verdict(imported, activations, model)
    config: dict[str, Any] = {
        "architecture": type(imported.dictionary).__name__,
        "dictionary": asdict(imported.dictionary.config),
        "converted_from": {
            "format": name, "name": path.name, "files": _digests(path), "claims": claims.to_dict(),
            "assumptions": list(imported.assumptions),
        },
    }  # fmt: skip
    config |= _origin(imported, activations, model)
    inputs = {} if model is None else {"model": model.fingerprint, "tokenizer": model.tokenizer_fingerprint}
    job = {"convert": config["converted_from"], "scale": scale, "inputs": inputs}
    with artifact.claim(out, "dictionary", job) as done:
        if done is None:
            file = dictionaries.save(imported.dictionary, out)
            about = Manifest(kind="dictionary", config=config, inputs=inputs, facts={"verdict": found.to_dict()})
            artifact.finish(out, about, [file])
    done = artifact.read(out, "dictionary")
    return Conversion(folder=out, format=name, manifest=done, verdict=found, assumptions=imported.assumptions)


def _origin(imported: Imported, activations: Source | None, model: Model | None) -> dict[str, Any]:
    """Where it belongs: what the files say, with the activations' own words where those were given."""
    claims = imported.claims
    said: dict[str, Any] = {"model": claims.model if model is None else model.name}
    if claims.sites:
        said["site"] = claims.sites[0] if len(claims.sites) == 1 else list(claims.sites)
        if claims.transcoder and claims.sites_out:
            out = claims.sites_out
            said["writes"] = out[0] if len(out) == 1 else list(out)
    elif activations is not None:
        said |= {name: activations.origin[name] for name in ("site", "writes") if name in activations.origin}
    if activations is not None and "hygiene" in activations.origin:
        said["hygiene"] = activations.origin["hygiene"]
    return said


def _streamed(imported: Imported, model: Model) -> Source:
    claims = imported.claims
    reads = [Site.parse(site) for site in claims.sites]
    writes = [Site.parse(site) for site in claims.sites_out] if claims.transcoder else []
    return stream(model, "stdlib", reads, writes=writes, tokens=STREAMED, bos=claims.bos is not False, held_out=0.0)


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
    return {p.name if path.is_file() else str(p.relative_to(path)): artifact.file_digest(p) for p in files}


def _named(modules: tuple[ModuleType, ...], name: str) -> ModuleType:
    for module in modules:
        if name.replace("_", "-").lower() == module.NAME.replace("_", "-"):
            return module
    raise BadInput(f"{name!r} is not a format that is known here. Choose one of: {_names(modules)}.")


def _names(modules: tuple[ModuleType, ...]) -> str:
    return ", ".join(module.NAME for module in modules)
