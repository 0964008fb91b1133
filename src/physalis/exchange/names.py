"""names: whether the model that files name is the one that was given.

Tools name models as the hub does, with or without the owner, or as TransformerLens does. Where only a folder's or a
file's name is at hand, what kind of model it is can still contradict.
"""

import re
from pathlib import Path

from physalis.exchange.checks import Check, ok, unverifiable, wrong
from physalis.exchange.imported import Claims, Imported
from physalis.models import Model
from physalis.models.sources.packages import hub_name
from physalis.site import Site
from physalis.training.training import Source

CHECK = "model"
ALIASES = {
    "gpt2-small": "gpt2", "mistral-7b": "mistral-7b-v0.1", "mistral-7b-instruct": "mistral-7b-instruct-v0.1",
    "llama-3-8b": "meta-llama-3-8b", "llama-3-8b-instruct": "meta-llama-3-8b-instruct",
}  # fmt: skip
"""TransformerLens's names that are not the last part of the hub's."""
TRAININGS = r"-(?:instruct|chat|base|it|pt|hf)(?=-|$)"
"""Says which training of a model it is: the directions of one may hold for another."""
KINDS = {
    "gpt2": r"(distil)?gpt-?2(-|$)", "gpt_neox": r"(pythia|gpt-neox)", "gpt_neo": r"(gpt-neo-|tiny-?stories)",
    "gemma": r"gemma-[27]b", "gemma2": r"gemma-2-", "gemma3": r"gemma-3-", "qwen2": r"qwen(1\.5|2)", "qwen3": r"qwen3",
    "mistral": r"mistral-", "phi3": r"phi-3", "phi": r"phi-[12]", "llama": r"((meta-|code|tiny)?llama|smollm|vicuna)",
}  # fmt: skip
"""model_type in a configuration to how names of such models begin."""


def judge(imported: Imported, source: Source | None, model: Model | None) -> Check:
    """Whether the model, or that of the activations, is the one that the files name, as far as names tell."""
    if model is not None:
        own = getattr(model.hf.config, "model_type", None)
        return compared(imported.claims, model.name, kind=own, n_layers=model.n_layers)
    return compared(imported.claims, None if source is None else source.origin.get("model"))


def compared(
    claims: Claims, given: str | list[str] | None, *, kind: str | None = None, n_layers: int | None = None
) -> Check:
    """The check for a model of that name, whose configuration says that it is of this ``kind`` (model_type) and so
    deep."""
    claimed = claims.model
    deepest = max((Site.parse(site).layer or 0 for site in claims.sites), default=0)
    if n_layers is not None and deepest >= n_layers:
        return wrong(CHECK, f"The files name layer {deepest}; {_listed(given)} has L0 to L{n_layers - 1}.")
    if given is None:
        said = f"The files name {claimed!r}" if claimed else "The files name none"
        return unverifiable(CHECK, f"{said}; none was given to compare it with.")
    if not claimed:
        return unverifiable(CHECK, f"The files name none; the one that was given is {_listed(given)}.")
    if not isinstance(given, str):
        return unverifiable(CHECK, f"The files name {claimed!r}; these activations are of {_listed(given)}.")
    return _compared(claimed, given, kind)


def _compared(claimed: str, given: str, own: str | None) -> Check:
    a, b = _plain(claimed), _plain(given)
    known = hub_name(given)
    this = f"{given} ({known})" if known != given else given
    if a == b:
        return ok(CHECK, f"The files name {claimed}, and the one that was given is {this}.")
    if re.sub(TRAININGS, "", a) == re.sub(TRAININGS, "", b):
        return unverifiable(CHECK, f"The files name {claimed}; {this} is another training of the same model.")
    kinds = {kind for kind, begins in KINDS.items() if re.match(begins, a)}
    if own is not None and kinds and not any(own.removesuffix("_text") == kind for kind in kinds):
        return wrong(CHECK, f"The files name {claimed!r}; {this} is of another kind ({own}).")
    if _is_path(claimed) or _is_path(given):
        return unverifiable(
            CHECK, f"The files name {claimed!r}; whether {this!r} is that model its name does not tell."
        )
    return wrong(CHECK, f"The files name {claimed!r}; the one that was given is {this}.")


def _plain(name: str) -> str:
    """The last part of a name, as far as all spell it alike."""
    last = hub_name(name).rstrip("/").rsplit("/", 1)[-1].lower().removesuffix(".gguf").replace("_", "-")
    return ALIASES.get(last, last)


def _is_path(name: str) -> bool:
    """Whether the name says where a model lies rather than which it is; ``tiny`` is none that others know either."""
    return (
        name.startswith((".", "/", "~"))
        or name.count("/") > 1
        or name.endswith(".gguf")
        or name == "tiny"
        or Path(name).is_dir()
    )


def _listed(names: str | list[str] | None) -> str:
    return names if isinstance(names, str) else " and ".join(names or ["none"])
