"""A compiled model says what the interpreter says, whatever the program, and holds every variable where it is said."""

from itertools import product
from zlib import crc32

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from physalis.errors import BadInput
from physalis.lab.rasp import (
    aggregate,
    compile_program,
    elementwise,
    evaluate,
    histogram,
    indices,
    induction,
    latest,
    numeric,
    reverse,
    select,
    selector_width,
    tokens,
)
from physalis.site import Site

VOCABULARY, CONTEXT = ("a", "b", "c"), 5


def chance(of: int, *values) -> int:
    """The same for the same values: a function that nobody chose."""
    return crc32(repr(values).encode()) % of


def grown(plan, causal: bool):
    """A program whose steps are made of earlier ones, by numbers that were drawn."""
    made = [tokens, indices]
    for kind, salt, i, j in plan:
        a, b = made[i % len(made)], made[j % len(made)]

        def related(key, query, salt=salt):
            return chance(3, salt, key, query) == 0

        selector = select(a, b, related)
        match kind:
            case "map":
                made.append(elementwise(lambda x, salt=salt: chance(3, salt, x), a))
            case "join":
                made.append(elementwise(lambda x, y, salt=salt: chance(4, salt, x, y), a, b))
            case "count":
                made.append(elementwise(lambda w: min(w, 3), selector_width(selector)))
            case "carry":
                made.append(aggregate(latest(selector), b, default=[None, 0, "a"][salt % 3]))
            case "mean":
                mean = aggregate(selector, numeric(lambda x, salt=salt: chance(3, salt, x) - 1, a), default=salt % 2)
                made.append(elementwise(lambda x: (x > 0) - (x < 0), mean))
            case "same":
                alike = elementwise(lambda x, salt=salt: chance(2, salt, x), a)
                where = select(alike, tokens, lambda key, query: key == 1)
                made.append(aggregate(where, alike, default=2))
    return made[-1]


kinds = st.sampled_from(["map", "join", "count", "carry", "mean", "same"])
numbers = st.integers(0, 7)
inputs = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=CONTEXT).map(tuple)


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(
    st.lists(st.tuples(kinds, numbers, numbers, numbers), min_size=1, max_size=5),
    st.booleans(),
    st.lists(inputs, min_size=4, max_size=12),
)
def test_any_small_program_is_computed_exactly(plan, causal, drawn):
    program = grown(plan, causal)
    compiled = compile_program(program, vocabulary=VOCABULARY, context=CONTEXT, causal=causal)
    assert compiled.answers(drawn) == [evaluate(program, each, causal=causal) for each in drawn]


@pytest.mark.parametrize("causal", [True, False])
def test_numbers_are_carried_compared_and_computed_with(causal):
    value = numeric(lambda token: {"a": -1.5, "b": 0, "c": 2}[token], tokens)
    seen = latest(select(tokens, indices, lambda key, query: key != "a" and query > 0))
    carried = aggregate(seen, value, default=7)
    squared = numeric(lambda x: x * x, carried)
    everywhere = select(tokens, tokens, lambda key, query: True)
    mean = aggregate(everywhere, squared, default=3)
    program = elementwise(lambda x: f"{float(x):.4f}", mean)
    compiled = compile_program(program, vocabulary=VOCABULARY, context=4, causal=causal)
    every = [each for n in range(1, 5) for each in product(VOCABULARY, repeat=n)]
    assert compiled.answers(every) == [evaluate(program, each, causal=causal) for each in every]


@pytest.mark.parametrize("causal", [True, False])
def test_what_inputs_begin_with_is_never_selected(causal):
    """Though it holds the default, which the predicate holds of."""
    before = select(indices, indices, lambda key, query: key == query - 1)
    previous = aggregate(before, tokens)
    new = select(previous, tokens, lambda key, query: key is None and query != "a")
    found = aggregate(latest(new), indices, default="nothing")
    program = elementwise(lambda n, at: f"{n}:{at}", selector_width(new), found)
    compiled = compile_program(program, vocabulary=VOCABULARY, context=4, causal=causal)
    every = [each for n in range(1, 5) for each in product(VOCABULARY, repeat=n)]
    assert compiled.answers(every) == [evaluate(program, each, causal=causal) for each in every]
    assert {"0:nothing", "1:0"} <= {each for row in compiled.answers(every) for each in row}


def test_a_variable_stands_where_it_is_said_and_only_its_component_writes_there():
    task = reverse()
    compiled = task.compiled()
    last = Site("resid_post", compiled.model.n_layers - 1)
    drawn = [each for each in task.inputs(60) if len(each) == task.longest]
    x = compiled.model.run(compiled.encode(drawn), read=[last])[last][:, 1:]
    places = [coordinate for each in compiled.wiring.variables for coordinate in each.place]
    assert sorted(places) == [*range(compiled.model.d_model)]
    for variable in compiled.wiring.variables[1:]:
        truth = [evaluate(variable.sop, each, causal=False) for each in drawn]
        stands = x @ compiled.directions(variable.name).T
        if variable.values:
            assert torch.allclose(stands.sum(-1), torch.ones(()), atol=1e-4)
            assert stands.argmax(-1).tolist() == [[variable.values.index(value) for value in row] for row in truth]
        else:
            assert torch.allclose(stands[..., 0], torch.tensor([[float(v) for v in row] for row in truth]), atol=1e-5)


def test_what_inputs_begin_with_holds_the_same_in_all_of_them():
    compiled = histogram().compiled()
    ends = [Site("resid_post", layer) for layer in range(compiled.model.n_layers)]
    one, other = (compiled.model.run(compiled.encode([each]), read=ends) for each in ("abc", "fffffff"))
    assert all(torch.equal(one[site][0, 0], other[site][0, 0]) for site in ends)


def test_attention_is_what_its_sites_say():
    pattern = Site("attn_pattern", 0)
    for task in (induction(), histogram()):
        compiled = task.compiled()
        x = compiled.encode([task.inputs(1)[0]])
        weights = compiled.model.run(x, read=[pattern])[pattern][0]
        assert torch.allclose(weights.sum(-1), torch.ones(())) and weights[:, 0, 0].min() > 1 - 1e-6
        assert bool(weights.triu(1).any()) == (not task.causal)
        z = Site("z", 0)
        kept = compiled.model.run(x, read=[z], write={pattern: lambda each: each * 1.0})[z]
        assert torch.allclose(kept, compiled.model.run(x, read=[z])[z], atol=1e-6)


def test_a_model_is_what_it_computes():
    task = histogram()
    assert task.compiled().model.fingerprint == task.compiled().model.fingerprint
    causal = compile_program(task.program, vocabulary=task.vocabulary, context=task.longest)
    assert causal.model.fingerprint != task.compiled().model.fingerprint
    assert causal.answers(["aab"]) == [(1, 2, 1)] and task.compiled().answers(["aab"]) == [(2, 2, 1)]


def test_its_texts_are_tokens_between_spaces():
    compiled = induction().compiled()
    model = compiled.model
    assert model.encode(["a b", " c  a "]) == [[0, 1], [2, 0]] and model.bos_id == model.vocab_size - 1
    assert "".join(map(str, model.pieces([0, 1, model.bos_id]))) == " a b <bos>"
    assert compiled.encode(["ab"]).tolist() == [[model.bos_id, 0, 1]]
    with pytest.raises(BadInput, match="There is no token 'z'"):
        model.encode(["a z"])


def test_inputs_that_it_does_not_read_are_refused():
    compiled = induction().compiled()
    with pytest.raises(BadInput, match=r"1 to 16 tokens; received lengths \[2, 3\]"):
        compiled.encode(["ab", "abc"])
    with pytest.raises(BadInput, match=r"received lengths \[17\]"):
        compiled.answers(["a" * 17])
    with pytest.raises(BadInput, match=r"received lengths \[0\]"):
        compiled.answers([""])
    with pytest.raises(BadInput, match="reads a, b, c, d, e, f; received the token 'None'"):
        compiled.encode([["a", "None"]])


def test_programs_that_cannot_be_compiled_are_refused():
    def refused(program, match, vocabulary=("a", "b"), context=4):
        with pytest.raises(BadInput, match=match):
            compile_program(program, vocabulary=vocabulary, context=context)

    share = numeric(lambda i: i, indices, name="number")
    refused(share, "answers with tokens, and 'number' is a number. Make categories")
    wide = elementwise(lambda a, b: (a, b), indices, indices, name="pairs")
    refused(wide, "'pairs' has 10,000 values or combinations of them.* a context below 100", context=100)
    fine = aggregate(select(indices, indices, lambda key, query: True), numeric(lambda i: i**2 / 7 + i**3, indices))
    refused(elementwise(lambda x: x > 1, fine), "'aggregate' has .* values or combinations", context=40)
    refused(elementwise(lambda token: 1 // 0, tokens), r"ends in ZeroDivisionError .* on \('a',\). It has to answer")
    refused(elementwise(lambda token: [token], tokens), "ends in TypeError")
    broken = aggregate(select(tokens, indices, lambda key, query: key < query), tokens)
    refused(broken, "compares 'tokens' with 'indices' ends in TypeError .* each pair of")
    near = elementwise(lambda x: x > 0, numeric(lambda i: [0, 1e-6, 1, 2][i], indices), name="near")
    refused(near, "'near' tells 0 from .* among numbers from 0 to 2: too near each other")
    refused(
        elementwise(lambda token: {"a": 1, "b": "1"}[token], tokens),
        r"Answers are told apart by how .* are \[1, '1'\]. Let",
    )
    refused(tokens, r"each once, and none is <bos>; received \['a', 'a'\]", vocabulary=("a", "a"))
    refused(tokens, r"received \[\]", vocabulary=())
    refused(tokens, "'a b' has one or is empty", vocabulary=("a b", "c"))
    refused(tokens, "A context is 1 token or more; received 0", context=0)
