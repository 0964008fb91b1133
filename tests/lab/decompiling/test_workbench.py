"""What is known while a program is read: means by cells, what is lost where they are held, and what is new."""

import numpy as np
import torch

from physalis.lab.decompiling.passes import Passes
from physalis.lab.decompiling.programs import Apply
from physalis.lab.decompiling.programs.columns import column_of, joint
from physalis.lab.decompiling.programs.functions import Sum
from physalis.lab.decompiling.workbench import NOTHING_NEW, Workbench, one_to_one, sides
from physalis.lab.rasp import histogram
from physalis.site import Site

TASK = histogram(n_letters=3, longest=5)
COMPILED = TASK.compiled()
WORDS = [*dict.fromkeys(TASK.inputs(200))]
Z = Site("z", 0)


def bench(tolerance=0.1) -> Workbench:
    passes = Passes(COMPILED.model, [COMPILED.encode([each])[0].tolist() for each in WORDS], slice(1, None))
    learns = np.arange(len(WORDS)) % 3 < 2
    return Workbench(passes, WORDS, learns, causal=False, tolerance=tolerance, parts=2)


def test_means_are_of_the_cells_that_are_learned_from():
    made = bench()
    x = made.passes.read([Z], {})[Z]
    cells = made.columns["token"]
    means, put = made.means(x, cells, made.exists.astype(float))
    for i, value in enumerate(cells.values):
        here = (cells.codes == i) & made.learns[:, None]
        assert torch.allclose(means[i], x[:, 1:][torch.from_numpy(here)].mean(0), atol=1e-5)
        everywhere = torch.from_numpy(cells.codes == i)
        assert torch.equal(put[:, 1:][everywhere], means[i].expand(int(everywhere.sum()), -1)), value
    assert torch.allclose(put[:, 0], x[torch.from_numpy(made.learns), 0].mean(0).expand(len(x), -1), atol=1e-5)


def test_what_was_never_seen_is_otherwise():
    made = bench()
    x = made.passes.read([Z], {})[Z]
    rows = [[("seen" if learns else "new")] * len(each) for learns, each in zip(made.learns, WORDS, strict=True)]
    other = torch.full_like(x, 7.0)
    _, put = made.means(x, column_of(rows), made.exists.astype(float), other)
    new = torch.from_numpy(~made.learns[:, None] & made.exists)
    assert (put[:, 1:][new] == 7.0).all() and not (put[:, 1:][~new] == 7.0).any()
    _, put = made.means(x, column_of(rows), made.exists.astype(float))
    mean = x[:, 1:][torch.from_numpy(made.learns[:, None] & made.exists)].mean(0)
    assert torch.allclose(put[:, 1:][new], mean.expand(int(new.sum()), -1), atol=1e-5)


def test_answers_are_lost_where_the_count_is():
    made = bench()
    x = made.passes.read([Z], {})[Z]
    weights = made.relevant(0)
    count = column_of([[each.count(token) for token in each] for each in WORDS])
    assert made.lost(Z, x) == 0.0 and made.leaves(Z, x)
    assert made.lost(Z, made.means(x, count, weights)[1]) == 0.0
    assert made.lost(Z, made.means(x, None, weights)[1]) > 0.3 and not made.leaves(Z, made.means(x, None, weights)[1])
    assert made.lost(Z, made.means(x, made.columns["token"], weights)[1]) > 0.3


def test_a_variable_that_is_known_adds_nothing():
    made = bench()
    step = Apply(made.fresh(), "L0.mlp", Sum((1,), 3), ("position",))
    made.add(step, step.column(made.columns))
    assert made.steps == [] and made.said == {"L0.mlp": NOTHING_NEW} and made.fresh() == "v1"
    other = Apply("v1", "L0.H0", Sum((1,)), ("position",))
    made.add(other, column_of([[len(each)] * len(each) for each in WORDS]), root="v1", note="much")
    assert made.steps == [other] and made.roots == {"v1": "v1"} and made.notes == {"v1": "much"}
    assert made.fresh() == "v2"


def test_subsets_grow():
    made = bench()
    found = [*made.subsets(2)]
    assert {*found} == {("token",), ("position",), ("token", "position")}
    sizes = [len(joint([made.columns[name] for name in names]).values) for names in found]
    assert sizes == sorted(sizes)


def test_numbers_with_two_sides_are_cut():
    made = bench()
    assert [*sides(made, "L0.mlp", finest_first=False)] == []
    made.columns["signed"] = column_of([[i - 1 for i in range(len(each))] for each in WORDS])
    texts = [each.function.text(["x"]) for each in sides(made, "L0.mlp", finest_first=True)]
    assert texts == ["(x >= 0) + (x > 0)", "(x >= 0)", "(x > 0)"]


def test_one_to_one():
    a, b = np.array([0, 1, 1, 2]), np.array([5, 3, 3, 0])
    assert one_to_one(a, b) and one_to_one(b, a)
    assert not one_to_one(a, np.array([0, 0, 0, 1])) and not one_to_one(np.array([0, 0, 0, 1]), a)
