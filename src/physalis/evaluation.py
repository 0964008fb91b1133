"""evaluate(): the only evaluation loop; how faithful a dictionary is, with intervals and beside its baselines.

1. Every stored token is encoded once to count firings; held-out tokens also give FVU, cosine and L0.
2. The model runs over held-out contexts with each reconstruction spliced in at the site. Positions that hygiene left
   out of the activations keep what the model computed.
3. Before anything else is believed, writing the activations back unchanged must reproduce the model's loss.
Baselines are measured on the same tokens: the k leading principal components, and a dictionary of the same shape whose
directions are random and frozen, its encoder trained the same way.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from physalis import artifact, dictionaries, metrics
from physalis.activations import Activations
from physalis.artifact import Manifest
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.metrics import Firing, Reconstruction, Splice, Sums
from physalis.models import Model
from physalis.origin import recorded
from physalis.progress import progress
from physalis.site import Site
from physalis.training import train
from physalis.types import Codes

IDENTITY_TOLERANCE = 1e-5  # nats; more means that the splice itself changes the model
CHUNK = 4096  # rows encoded at a time
CONTEXTS_A_PASS = 4  # their logits are held for several variants at once

Rebuild = Callable[[Float[Tensor, "tokens d"]], Float[Tensor, "tokens d"]]
"""Raw activations to a reconstruction of them."""


class PCA(NamedTuple):
    """The k leading principal components of the training activations."""

    mean: Float[Tensor, " d"]
    components: Float[Tensor, "k d"]

    @classmethod
    def fit(cls, activations: Activations, k: int, *, rows: int = 200_000) -> "PCA":
        """From the first ``rows`` training rows, by the eigenvectors of their covariance."""
        d = activations.d
        second, n = torch.zeros(d, d, dtype=torch.float64), 0
        for part in activations.train.ordered(CHUNK):
            x = part.x.float() - activations.mean
            second += (x.T @ x).double()
            n += len(x)
            if n >= rows:
                break
        _, vectors = torch.linalg.eigh(second / n)
        return cls(activations.mean, vectors[:, -k:].T.float().contiguous())

    def rebuild(self, x: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
        return self.mean + (x - self.mean) @ self.components.T @ self.components


def evaluate(
    dictionary: str | Path,
    activations: str | Path,
    model: Model,
    *,
    out: str | Path,
    splice_tokens: int = 4_096,
    firing_tokens: int = 1_000_000,
    seed: int = 0,
) -> Manifest:
    """Measure the dictionary in one folder on the activations in another; the finished evaluation's manifest.

    ``facts["metrics"]`` holds, under each metric function's name, ``{value, low, high}`` (95 %): a bootstrap over
    contexts for what is averaged over tokens, Wilson's interval for shares of features. ``facts["baselines"]`` is a
    list of ``{name, metrics}`` measured on the same tokens. ``splice_tokens`` held-out tokens go through the model once
    for each variant; ``firing_tokens`` stored tokens at most are encoded to count firings.

    Raises BadInput if model, activations and dictionary do not belong together, if nothing was held out, or if writing
    the activations back unchanged does not give the model's own loss to 1e-5 nats.
    """
    sae_folder, acts_folder, folder = Path(dictionary), Path(activations), Path(out)
    acts = Activations.open(acts_folder)
    acts.require(model)
    about = artifact.read(sae_folder, "dictionary")
    recorded(about, acts)
    sae = dictionaries.load(sae_folder)
    if acts.held_out.n_tokens == 0:
        raise BadInput(f"{acts_folder} holds nothing out, so nothing can be judged. Record with --held-out 0.1.")
    job = {
        "dictionary": about.hash, "activations": acts.manifest.hash, "splice_tokens": splice_tokens,
        "firing_tokens": firing_tokens, "seed": seed,
    }  # fmt: skip
    with artifact.claim(folder, "evaluation", job) as done:
        if done is not None:
            return done
        check_identity(model, acts)
        subjects = {"": sae}
        if "training" in about.config:  # a converted dictionary does not say how it was trained
            subjects["frozen"] = _frozen(about, acts, folder / "frozen", seed)
        found = measure(subjects, acts, model, splice_tokens=splice_tokens, firing_tokens=firing_tokens, seed=seed)
        names = {"pca": f"PCA, {sae.config.k} components", "frozen": "random directions, encoder trained the same way"}
        facts: dict[str, Any] = {
            "metrics": found[""],
            "baselines": [{"name": name, "metrics": found[key]} for key, name in names.items() if key in found],
            "n_held_out": acts.held_out.n_tokens,
            "n_spliced": min(splice_tokens, acts.held_out.n_tokens),
        }
        return artifact.finish(
            folder,
            Manifest(
                kind="evaluation",
                config=job,
                seed=seed,
                inputs={"dictionary": about.hash, "activations": acts.manifest.hash, "model": model.fingerprint},
                facts=facts,
            ),
            [],
        )


def measure(
    subjects: Mapping[str, Dictionary],
    activations: Activations,
    model: Model,
    *,
    splice_tokens: int,
    firing_tokens: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """The metrics of several dictionaries, and under "pca" those of as many components as the first one's k, all on the
    same tokens: ``{subject: {metric: {value, low, high}}}``. Trains nothing, writes nothing."""
    pca = PCA.fit(activations, next(iter(subjects.values())).config.k)
    found = reconstructions(activations, subjects, pca, firing_tokens, seed)
    rebuilds = {name: rebuild_with(each) for name, each in subjects.items()} | {"pca": pca.rebuild}
    spliced = _splices(model, activations, rebuilds, splice_tokens, seed)
    return {name: found[name] | spliced[name] for name in found}


def rebuild_with(dictionary: Dictionary) -> Rebuild:
    """Encode and decode, without gradients."""

    def rebuild(x: Tensor) -> Tensor:
        with torch.no_grad():
            return dictionary.rebuild(x, dictionary.encode(x))

    return rebuild


def splice_at(activations: Activations, rebuild: Rebuild) -> Callable[[Tensor], Tensor]:
    """A function for ``Model.run(write=...)``: rebuilds every position that hygiene keeps, leaves the others alone."""
    hygiene = activations.hygiene

    def write(x: Float[Tensor, "contexts context d"]) -> Float[Tensor, "contexts context d"]:
        keep = hygiene.keep(x)
        new = x.clone()
        new[keep] = rebuild(x[keep].float()).to(x.dtype)
        return new

    return write


def check_identity(model: Model, activations: Activations) -> None:
    """Raise BadInput unless writing the activations back unchanged gives the model's loss to 1e-5 nats a token."""
    tokens = torch.from_numpy(activations.tokens[activations.held_out.contexts[:CONTEXTS_A_PASS]].astype("int64"))
    own = _nll(_logits(model, tokens, activations.site, None), tokens)
    same = _nll(_logits(model, tokens, activations.site, splice_at(activations, lambda x: x)), tokens)
    gap = float((own - same).abs().mean())
    if gap > IDENTITY_TOLERANCE:
        raise BadInput(
            f"Writing {activations.site} back unchanged moves the loss by {gap:.2g} nats a token, more than "
            f"{IDENTITY_TOLERANCE:g}: the splice itself changes this model, so no number from it could be trusted. "
            "Nothing was written. Choose another site, or load the model in float32."
        )


def _frozen(about: Manifest, acts: Activations, folder: Path, seed: int) -> Dictionary:
    """The baseline dictionary: as ``about`` says, with random directions kept."""
    config = type(dictionaries.make(about.config["architecture"], about.config["dictionary"]).config)
    t = about.config["training"]
    kept = {key: t[key] for key in ("epochs", "batch_size", "lr", "warmup", "decay", "dead_after")}
    return train(acts, [config(**about.config["dictionary"])], [folder], frozen="dec", seed=seed, **kept)[0]


def reconstructions(
    acts: Activations, saes: Mapping[str, Dictionary], pca: PCA, firing_tokens: int, seed: int
) -> dict[str, dict[str, Any]]:
    """The metrics that need no model, of several dictionaries and, under "pca", of the components, on the held-out
    tokens; firings are counted on ``firing_tokens`` training tokens more."""
    n_contexts = len(acts.tokens)
    sums = {key: {m.__name__: Sums(n_contexts) for m in metrics.RECONSTRUCTION} for key in (*saes, "pca")}
    held = acts.held_out
    nothing = Codes(torch.zeros(0, 1), torch.zeros(0, 1, dtype=torch.int32))
    counted = min(firing_tokens, acts.train.n_tokens)
    counts = {key: torch.zeros(sae.config.n_features, dtype=torch.int64) for key, sae in saes.items()}
    seen = 0
    with progress("evaluate", held.n_tokens + counted, "tokens") as advance:
        for part in held.ordered(CHUNK):
            x = part.x.float()
            contexts = part.at // acts.context
            for key, sae in saes.items():
                with torch.no_grad():
                    codes = sae.encode(x)
                    r = Reconstruction(x, sae.rebuild(x, codes), codes, acts.mean)
                for metric in metrics.RECONSTRUCTION:
                    sums[key][metric.__name__].add(metric(r), contexts)
                _count(counts[key], codes)
            r = Reconstruction(x, pca.rebuild(x), nothing, acts.mean)
            for metric in (metrics.fvu, metrics.cosine):
                sums["pca"][metric.__name__].add(metric(r), contexts)
            seen += len(x)
            advance(len(x))
        for part in acts.train.ordered(CHUNK):
            if seen >= held.n_tokens + counted:
                break
            for key, sae in saes.items():
                with torch.no_grad():
                    _count(counts[key], sae.encode(part.x.float()))
            seen += len(part.x)
            advance(len(part.x))
    del sums["pca"]["l0"]
    found = {key: {name: s.estimate(seed=seed) for name, s in each.items()} for key, each in sums.items()}
    for key in saes:
        firing = Firing(counts[key], seen)
        found[key] |= {m.__name__: metrics.share_estimate(m(firing)) for m in metrics.FIRING}
    k = float(len(pca.components))
    found["pca"]["l0"] = {"value": k, "low": k, "high": k}
    return found


def _count(counts: Int[Tensor, " features"], codes: Codes) -> None:
    counts += torch.bincount(codes.ids[codes.values > 0].long(), minlength=len(counts))


def _logits(
    model: Model, tokens: Int[Tensor, "contexts context"], site: Site, write: Callable[[Tensor], Tensor] | None
) -> Float[Tensor, "contexts context vocab"]:
    end = Site("logits")
    return model.run(tokens, read=[end], write={} if write is None else {site: write})[end]


def _nll(logits: Float[Tensor, "contexts context vocab"], tokens: Int[Tensor, "contexts context"]) -> Tensor:
    """Negative log-likelihood of each next token, nats, "contexts context-1"."""
    flat = logits[:, :-1].float().flatten(0, 1)
    target = tokens[:, 1:].to(flat.device).flatten()
    return torch.nn.functional.cross_entropy(flat, target, reduction="none").view(len(tokens), -1)


def _kl(p: Float[Tensor, "contexts context vocab"], q: Float[Tensor, "contexts context vocab"]) -> Tensor:
    """KL(p || q) at each position that predicts a next token, nats, "contexts context-1"."""
    total = []
    for a, b in zip(p[:, :-1], q[:, :-1], strict=True):
        log_p, log_q = a.float().log_softmax(-1), b.float().log_softmax(-1)
        total.append((log_p.exp() * (log_p - log_q)).sum(-1))
    return torch.stack(total)


def _same_document(documents: Int[Tensor, "contexts context"]) -> Bool[Tensor, "contexts context_1"]:
    """Whether the next token belongs to the same document: the first token of another is not predictable."""
    return documents[:, 1:] == documents[:, :-1]


def _splices(
    model: Model, acts: Activations, rebuilds: dict[str, Rebuild], splice_tokens: int, seed: int
) -> dict[str, dict[str, Any]]:
    context = acts.context
    order = torch.randperm(len(acts.held_out.contexts), generator=torch.Generator().manual_seed(seed)).numpy()
    chosen = acts.held_out.contexts[order[: max(1, splice_tokens // context)]]
    sums = {key: {m.__name__: Sums(len(acts.tokens)) for m in metrics.SPLICE} for key in rebuilds}
    mean = acts.mean
    with progress("splice", len(chosen) * context, "tokens") as advance:
        for i in range(0, len(chosen), CONTEXTS_A_PASS):
            ids = chosen[i : i + CONTEXTS_A_PASS]
            tokens = torch.from_numpy(acts.tokens[ids].astype("int64"))
            use = _same_document(torch.from_numpy(acts.documents[ids].astype("int64"))).flatten()
            contexts = torch.from_numpy(ids)[:, None].expand(-1, context - 1).flatten()[use]

            def run(rebuild: Rebuild | None, tokens: Tensor = tokens) -> Tensor:
                write = None if rebuild is None else splice_at(acts, rebuild)
                return _logits(model, tokens, acts.site, write)

            def flat(x: Tensor, use: Tensor = use) -> Tensor:
                return x.cpu().flatten()[use]

            own = run(None)
            clean = flat(_nll(own, tokens))
            zeroed = flat(_nll(run(torch.zeros_like), tokens))
            averaged = flat(_nll(run(lambda x: mean.to(x.device).expand_as(x)), tokens))
            for key, rebuild in rebuilds.items():
                logits = run(rebuild)
                spliced, kl = flat(_nll(logits, tokens)), flat(_kl(own, logits))
                s = Splice(clean, spliced, zeroed, averaged, kl)
                for metric in metrics.SPLICE:
                    sums[key][metric.__name__].add(metric(s), contexts)
            advance(tokens.numel())
    return {key: {name: s.estimate(seed=seed) for name, s in each.items()} for key, each in sums.items()}
