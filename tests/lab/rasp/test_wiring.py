"""The circuit that is said to be true is: what is in it matters, what is not does not, in nodes and in edges."""

import pytest
import torch

from physalis.errors import BadInput
from physalis.lab.rasp import (
    TASKS,
    Compiled,
    aggregate,
    elementwise,
    hidden,
    histogram,
    indices,
    induction,
    latest,
    reverse,
    select,
    selector_width,
    tokens,
    two_hop,
)
from physalis.lab.rasp.wiring import EMBED, LOGITS
from physalis.site import Site

ROUNDED = 1e-3
"""By how much the logits of a model in turned coordinates differ where nothing changed; those of answers are 10."""


def decoys():
    """Programs that have a head and neurons in two layers, and reach no answer."""
    count = selector_width(select(tokens, tokens, lambda key, query: key < query))
    odd = elementwise(lambda n, i: (n + i) % 2 == 1, count, indices)
    return [elementwise(str, aggregate(latest(select(odd, odd, lambda key, query: key)), tokens), name="decoy")]


@pytest.fixture(scope="module", params=TASKS, ids=lambda make: make.__name__)
def case(request):
    """(task, compiled beside decoys, the same hidden, clean inputs, as many others of the same length)"""
    task = request.param()
    compiled = task.compiled(beside=decoys())
    # not of the longest: of those a count that is taken away is still right
    lengths = [each for each in task.inputs(60 * task.longest) if len(each) == task.longest - 3]
    assert len(lengths) >= 40
    half = len(lengths) // 2
    return task, compiled, hidden(compiled, seed=3), lengths[:half], lengths[half : 2 * half]


def layer_of(component: str) -> int:
    return int(component[1:].split(".")[0])


def columns(compiled: Compiled, component: str) -> slice:
    """Of z, and of q, k and v."""
    d_head = compiled.model.hf.config.d_head
    head = int(component.split("H")[1])
    return slice(head * d_head, (head + 1) * d_head)


def without(compiled: Compiled, component: str, ids, how) -> torch.Tensor:
    """The logits where what a component writes is ``how`` of it."""
    if component == EMBED:
        site, part = Site("embed"), slice(None)
    elif component.endswith("mlp"):
        site, part = Site("mlp_out", layer_of(component)), slice(None)
    else:
        site, part = Site("z", layer_of(component)), columns(compiled, component)

    def write(x):
        x[:, 1:, part] = how(x[:, 1:, part])
        return x

    logits = Site("logits")
    return compiled.model.run(ids, read=[logits], write={site: write})[logits][:, 1:]


def unchanged(compiled: Compiled, again, logits) -> bool:
    """To the last bit, where coordinates are the open ones."""
    is_open = torch.equal(compiled.basis, torch.eye(compiled.model.d_model))
    return torch.equal(again, logits) if is_open else torch.allclose(again, logits, atol=ROUNDED)


def mean(x):
    return x.mean((0, 1), keepdim=True).expand_as(x)


def test_what_is_not_in_the_circuit_changes_nothing_and_what_is_does(case):
    task, plain, turned, clean, _ = case
    ids = plain.encode(clean)
    for compiled in (plain, turned):
        outside = set(compiled.components) - set(compiled.circuit.components)
        working = set(compiled.wiring.components) & outside
        assert working and not {EMBED, LOGITS} & outside
        logits = compiled.model.run(ids, read=[Site("logits")])[Site("logits")][:, 1:]
        truth = logits.argmax(-1)
        for component in compiled.components[:-1]:
            for how in (torch.zeros_like, mean):
                again = without(compiled, component, ids, how)
                if component in outside:
                    assert unchanged(compiled, again, logits), component
                else:  # what is made of places alone is its own mean
                    moved = (again.argmax(-1) != truth).any()
                    assert moved or how is mean and all(e.is_constant for e in of(compiled, component)), component
        for component in working:  # they are no idle ones: what they write is seen to vary
            assert not torch.allclose(written(compiled, component, ids), mean(written(compiled, component, ids)))


def of(compiled, component):
    """The edges that leave a component, in the circuit."""
    return [edge for edge in compiled.circuit.edges if edge.source == component]


def written(compiled: Compiled, component: str, ids) -> torch.Tensor:
    """What a component adds to the stream, from the first token of the input on."""
    block = compiled.model.hf.blocks[layer_of(component)] if component != EMBED else None
    if component == EMBED:
        return compiled.model.run(ids, read=[Site("embed")])[Site("embed")][:, 1:]
    if component.endswith("mlp"):
        site = Site("mlp_out", layer_of(component))
        return compiled.model.run(ids, read=[site])[site][:, 1:]
    site, part = Site("z", layer_of(component)), columns(compiled, component)
    return compiled.model.run(ids, read=[site])[site][:, 1:, part] @ block.attn.out.weight[:, part].T


def along(compiled: Compiled, edge, ids, others) -> torch.Tensor:
    """The logits where one way into a component reads what another wrote of other inputs."""
    source, target, via = edge.source, edge.target, edge.via
    change = written(compiled, source, others) - written(compiled, source, ids)
    if target == LOGITS:
        site, part, moved = Site("resid_post", compiled.model.n_layers - 1), slice(None), change
    elif via == "in":
        site, part, moved = Site("mlp_in", layer_of(target)), slice(None), change
    else:
        site, part = Site(via, layer_of(target)), columns(compiled, target)
        qkv = compiled.model.hf.blocks[layer_of(target)].attn.qkv.weight.unflatten(0, (3, -1))
        moved = change @ qkv["qkv".index(via), part].T

    def write(x):
        x[:, 1:, part] += moved
        return x

    logits = Site("logits")
    return compiled.model.run(ids, read=[logits], write={site: write})[logits][:, 1:]


def test_each_edge_carries_what_the_answer_needs_and_no_other_edge_carries_anything(case):
    task, plain, turned, clean, corrupt = case
    ids, others = plain.encode(clean), plain.encode(corrupt)
    for compiled in (plain, turned):
        logits = compiled.model.run(ids, read=[Site("logits")])[Site("logits")][:, 1:]
        for edge in compiled.circuit.edges:
            again = along(compiled, edge, ids, others)
            if edge.is_constant:
                assert unchanged(compiled, again, logits), edge
            else:
                assert (again.argmax(-1) != logits.argmax(-1)).any(), edge


def test_weights_read_what_is_wired_and_nothing_else(case):
    _, plain, turned, *_ = case
    for compiled in (plain, turned):
        edges = {(edge.source, edge.target, edge.via): edge for edge in compiled.wiring.edges}
        for target in compiled.components[1:]:
            ways = ["in"] if target == LOGITS or target.endswith("mlp") else ["q", "k", "v"]
            for via in ways:
                reads = reading(compiled, target, via)
                for variable in compiled.wiring.variables:
                    seen = (reads @ compiled.directions(variable.name).T).norm() > 1e-3
                    edge = edges.get((variable.component, target, via))
                    assert bool(seen) == (edge is not None and variable.name in edge.carries), (variable.name, target)


def reading(compiled: Compiled, target: str, via: str) -> torch.Tensor:
    if target == LOGITS:
        return compiled.model.hf.unembed.weight
    block = compiled.model.hf.blocks[layer_of(target)]
    if via == "in":
        return block.mlp[0].weight
    return block.attn.qkv.weight.unflatten(0, (3, -1))["qkv".index(via), columns(compiled, target)]


def test_the_circuits_are_the_textbook_ones():
    circuit = induction().compiled().circuit
    assert circuit.components == ("embed", "L0.H0", "L1.H0", "logits")
    assert {(e.source, e.target, e.via) for e in circuit.edges if not e.is_constant} == {
        ("embed", "L0.H0", "v"), ("embed", "L1.H0", "q"), ("L0.H0", "L1.H0", "k"), ("embed", "L1.H0", "v"),
        ("L1.H0", "logits", "in"),
    }  # fmt: skip
    hops = two_hop().compiled().circuit
    assert hops.components == ("embed", "L0.mlp", "L1.H0", "L1.mlp", "L2.mlp", "logits")
    assert {read.variable for read in hops["country of that city"].reads} == {"first", "city of the person before"}
    assert [e.carries for e in histogram().compiled().circuit.edges if e.target == "logits"] == [("count",)]
    assert reverse().compiled().circuit["opposite"].component == "L1.mlp"


def test_what_a_function_does_not_depend_on_is_no_edge():
    either = elementwise(lambda token, i: token == "a", tokens, indices, name="either")
    always = elementwise(lambda x, token: "yes", either, tokens, name="always")
    compiled = compile_of(either)
    assert [read.variable for read in compiled.circuit["either"].reads] == ["first", "tokens"]
    assert [v.name for v in compile_of(always).circuit.variables] == ["first", "always"]
    assert compile_of(always).answers(["ab"]) == [("yes", "yes")]


def compile_of(program):
    task = induction()
    return task._replace(program=program).compiled()


def test_names_are_told_apart_and_others_refused():
    task = histogram()
    twice = selector_width(select(tokens, tokens, lambda key, query: key == query), name="count")
    wiring = task.compiled(beside=[twice]).wiring
    assert [v.name for v in wiring.variables if "share" not in v.name] == ["first", "tokens", "count", "count 2"]
    assert wiring.output == "count" and wiring["count 2"].sop is twice
    with pytest.raises(BadInput, match="no variable 'depth'. Choose one of: first, tokens, share of count, count"):
        task.compiled().directions("depth")
