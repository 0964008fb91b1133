"""CX-27: a cross-layer transcoder without an error, whose graph leaves out a step that the model takes."""

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from physalis.circuits import CrossLayerSet, Tokens, TranscoderSet, trace
from physalis.circuits.bases.basis import Basis
from physalis.dictionaries import CrossLayer
from physalis.lab.counterexamples.base import Counterexample, Gap
from physalis.lab.fitting import Rows, fit_dictionary
from physalis.lab.rasp import Compiled, Facts, compile_program, elementwise, oracle, plant_facts, tokens
from physalis.site import Site

PEOPLE, CITIES, COUNTRIES = 8, 5, 3
FEATURES = 16
"""Of each layer."""
COPIES = 512
"""Of each person, to train on."""
READS, WRITES = ([Site(name, layer) for layer in range(2)] for name in ("mlp_in", "mlp_out"))


def two_steps(seed: int) -> tuple[Compiled, Facts]:
    """A model that says in which country a person lives: one MLP knows the city, the next the city's country."""
    facts = plant_facts(people=PEOPLE, cities=CITIES, countries=COUNTRIES, seed=seed)
    city = elementwise(facts.city_of.get, tokens, name="city")
    country = elementwise(facts.country_of.get, city, name="country")
    return compile_program(country, vocabulary=tuple(facts.city_of), context=1), facts


def activations(compiled: Compiled, people: list[str]) -> dict[Site, Tensor]:
    """What both MLPs read and write, a row a person."""
    got = compiled.model.run(compiled.encode([[person] for person in people]), read=[*READS, *WRITES])
    return {site: value[:, 1].float() for site, value in got.items()}


def trained(compiled: Compiled, people: list[str], *, k: int, seed: int) -> tuple[CrossLayer, float, float]:
    """A cross-layer transcoder of both MLPs, its FVU, and how many of its features fire on a person."""
    got = activations(compiled, people)
    x, y = (torch.cat([got[site] for site in sites], 1) for sites in (READS, WRITES))
    rows = Rows(x.repeat(COPIES, 1).numpy(), y.repeat(COPIES, 1).numpy())
    made = fit_dictionary(
        rows, "crosslayer", n_features=2 * FEATURES, k=k, layers=2, epochs=40, batch_size=256, seed=seed
    )  # fmt: skip
    assert isinstance(made, CrossLayer)
    codes = made.encode(x)
    fvu = float((made.decode(codes) - y).square().sum() / (y - y.mean(0)).square().sum())
    return made, fvu, float((codes.values > 0).sum(1).float().mean())


def through_the_city(compiled: Compiled, basis: Basis, people: list[str], facts: Facts) -> float:
    """Of what a graph says that features add to the answer, the share that those of the second MLP add, which reads the
    city. Mean of all people."""
    shares = []
    for person in people:
        answer = compiled.model.tokenizer.id_of(facts.country_of[facts.city_of[person]])
        graph = trace(compiled.model, basis, compiled.encode([[person]])[0].tolist(), targets=Tokens((answer,)))
        edges = graph.edges[-1, : graph.n_features].abs()
        shares.append(float(edges[graph.layer == 1].sum() / edges.sum().clamp_min(1e-12)))
    return sum(shares) / len(shares)


def moved_by_the_city(compiled: Compiled, people: list[str], facts: Facts) -> float:
    """Of pairs of people in two countries, the share in which the answer for the one is the other's country once what
    the first MLP wrote is what it writes for the other."""
    got, found = activations(compiled, people)[WRITES[0]], []
    words = compiled.model.tokenizer.words
    for one in people:
        for j, other in enumerate(people):
            wanted = facts.country_of[facts.city_of[other]]
            if facts.country_of[facts.city_of[one]] != wanted:

                def put(x: Tensor, value: Tensor = got[j]) -> Tensor:
                    return torch.cat([x[:, :1], value.expand(len(x), 1, -1)], 1)

                logits = compiled.model.run(compiled.encode([[one]]), read=[Site("logits")], write={WRITES[0]: put})
                found.append(words[int(logits[Site("logits")][0, -1].argmax())] == wanted)
    return sum(found) / len(found)


def shortcut(seed: int) -> Gap:
    compiled, facts = two_steps(seed)
    people = list(facts.city_of)
    (few, fvu, fire), (more, more_fvu, _) = (trained(compiled, people, k=k, seed=seed) for k in (1, 2))
    known = {layer: oracle(compiled, layer).dictionary() for layer in range(2)}
    moved = moved_by_the_city(compiled, people, facts)
    with tempfile.TemporaryDirectory() as folder:
        across = CrossLayerSet.write(Path(folder, "few"), compiled.model, few)
        wider = CrossLayerSet.write(Path(folder, "more"), compiled.model, more)
        each = TranscoderSet.write(Path(folder, "each"), compiled.model, known)
        return Gap(
            naive=through_the_city(compiled, across, people, facts), truth=moved,
            control_naive=through_the_city(compiled, each, people, facts), control_truth=moved,
            beside={
                "its FVU": fvu, "features that fire on a person": fire,
                "through the city, with two features a person": through_the_city(compiled, wider, people, facts),
                "its FVU then": more_fvu,
            },
        )  # fmt: skip


CX_27 = Counterexample(
    id="CX-27",
    belief="A graph of features that rebuild every layer without an error shows the steps that the model takes.",
    model="Two MLPs: the first knows in which city each of eight people lives, the second in which country each city "
    "is. A cross-layer transcoder of one feature a person, trained on both, makes no error.",
    naive="Features of the first layer write the country straight away: nothing goes through the city.",
    truth="Put another's city where the first MLP writes, and the answer is that one's country, always.",
    scale="the share of the answer that goes through the city: of edges (naive), of interchanges (truth)",
    control="a transcoder for each layer, two features a person",
    source="Lange et al. 2026, Cross-layer transcoders are incentivized to learn unfaithful circuits",
    warns="A graph says what its features are (Graph.basis). Trace with a transcoder for each layer beside it.",
    run=shortcut,
    least=0.8,
    spared=1e-6,
    beside={
        "its FVU": (0, 1e-3), "features that fire on a person": (0.8, 1.1),
        "through the city, with two features a person": (0, 0.5), "its FVU then": (0, 1e-2),
    },
    fast=False,
)  # fmt: skip
