"""What fires is what exact arithmetic says, whatever a product is taken in."""

import pytest
import torch

from physalis import dictionaries
from physalis.dictionaries.kernels import candidates
from physalis.dictionaries.kernels.rows import Rows
from physalis.types import Batch, Codes

N, D, F, K = 120, 64, 700, 8
DTYPES = (torch.float32, torch.bfloat16, torch.int8)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def usual():
    return drawn(N, D), drawn(F, D, seed=1), 0.1 * drawn(F, seed=2)


def far_from_zero():
    x, weight, bias = usual()
    return x + 100 * drawn(D, seed=3), weight, bias


def of_many_lengths():
    x, weight, bias = usual()
    return x + 5 * drawn(D, seed=3), weight * (2 * drawn(F, seed=4)).exp()[:, None], bias


def nearly_the_same():
    x, weight, bias = usual()
    return x, weight[:20].repeat(F // 20, 1) + 1e-4 * weight, 0 * bias


def the_same():
    x, weight, bias = usual()
    return x, weight[:20].repeat(F // 20, 1), 0 * bias


def one_large_dimension():
    x, weight, bias = usual()
    x[:, 3] *= 300
    return x, weight, bias


def nothing():
    _, weight, bias = usual()
    return torch.zeros(N, D), weight, bias


def one_row():
    x, weight, bias = usual()
    return x[:1], weight, bias - 10


def of_16_bit_weights():
    """As tools store them: rounding takes nothing from them, and all that there is to be wrong from the rows."""
    x, weight, bias = usual()
    return x, weight.bfloat16().float(), bias


KINDS = (
    usual,
    of_16_bit_weights,
    far_from_zero,
    of_many_lengths,
    nearly_the_same,
    the_same,
    one_large_dimension,
    nothing,
    one_row,
)


def in_each(find):
    """What ``find`` makes of the rows with products in each dtype."""
    return [find(dtype) for dtype in DTYPES]


def exact(x, weight, bias):
    return (x.double() @ weight.double().T + bias).float()


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_are_those_of_exact_arithmetic(kind):
    x, weight, bias = kind()

    def find(dtype):
        rows = Rows(weight.clone())
        rows.compute_in(dtype)
        return candidates.top(x, rows, bias, K)

    wanted = exact(x, weight, bias).clamp_min(0)
    for codes in (found := in_each(find)):
        assert torch.equal(codes.ids, found[0].ids) and torch.equal(codes.values, found[0].values)
    fires = found[0].values > 0
    best = wanted.topk(K, dim=1).values
    assert torch.allclose(found[0].values, best, rtol=1e-6, atol=1e-6 * float(best.abs().max()))
    assert torch.allclose(found[0].values[fires], wanted.gather(1, found[0].ids.long())[fires], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threshold", [False, True])
def test_what_is_above_is_what_exact_arithmetic_says(kind, threshold):
    x, weight, bias = kind()
    wanted = exact(x, weight, bias)
    floor = wanted.abs().amax(0) / 2 if threshold else None  # every feature's largest pre-activations lie above

    def find(dtype):
        rows = Rows(weight.clone())
        rows.compute_in(dtype)
        return candidates.above(x, rows, bias, floor)

    for codes in (found := in_each(find)):
        assert torch.equal(codes.ids, found[0].ids) and torch.equal(codes.values, found[0].values)
    dense = torch.zeros(wanted.shape).scatter_add(1, found[0].ids.long(), found[0].values)
    expected = wanted * (wanted > (0 if floor is None else floor)) * (wanted > 0)
    close = torch.isclose(dense, expected, rtol=1e-5, atol=1e-6)
    at_the_edge = (wanted - (0 if floor is None else floor)).abs() <= 1e-6 * wanted.abs().max()
    assert (close | at_the_edge).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_where_there_are_no_kernels_it_is_the_same(dtype):
    x, weight, bias = of_many_lengths()
    rows = Rows(weight.clone())
    rows.compute_in(dtype)
    floor = torch.full((F,), 3.0)

    def dense(codes):
        return torch.zeros(len(x), F).scatter_add(1, codes.ids.long(), codes.values)

    plain = [candidates._decided(x, rows, bias, limit, k, half=rows.half) for limit, k in ((None, K), (floor, None))]
    ours = candidates.top(x, rows, bias, K), candidates.above(x, rows, bias, floor)
    for a, b in zip(plain, ours, strict=True):
        assert torch.allclose(dense(a), dense(b), rtol=1e-4, atol=1e-4 * float(b.values.max()))
        assert a.ids.dtype == b.ids.dtype == torch.int32


def test_a_product_that_is_wrong_is_found_out():
    x, weight, bias = usual()
    right, broken = Rows(weight.clone()), Rows(weight.clone())
    broken.compute_in(torch.bfloat16)
    broken.errors()
    broken.half.mul_(1.5)  # as if the processor multiplied wrongly: the bound that was measured no longer holds
    assert torch.equal(candidates.top(x, broken, bias, K).ids, candidates.top(x, right, bias, K).ids)


def converted(kind, layer_norm):
    """A dictionary as other tools make them: no centre, biases, thresholds, directions of any length."""
    shape = {"d_in": D, "d_out": D, "n_features": 500, "k": 6, "layer_norm": layer_norm}
    if kind is dictionaries.CrossLayer:
        shape |= {"layers": 2, "layer_norm": False}
    d = dictionaries.make(kind.__name__, shape)
    d.start(Batch(drawn(600, D), drawn(600, D)), seed=0)
    tensors = {name: value for name, value in d.state_dict().items() if value.is_floating_point() and value.ndim}
    for i, (name, value) in enumerate(tensors.items()):
        noise = drawn(*value.shape, seed=10 + i)
        if "threshold" in name:
            value.copy_(0.5 + noise.abs())
        elif value.ndim == 2:
            value.mul_(torch.exp(0.5 * noise[:, :1]))
        elif name != "rate":
            value.copy_(0.1 * noise)
    d.load_state_dict(d.state_dict())
    return d.requires_grad_(False)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("kind", dictionaries.ARCHITECTURES)
def test_a_dictionary_says_the_same_on_every_machine(kind, layer_norm):
    d = converted(kind, layer_norm)
    x = drawn(N, D, seed=7) + (0 if layer_norm else 20 * drawn(D, seed=8))

    def say(dtype):
        d.compute_in(dtype)
        codes: Codes = d.encode(x)
        return torch.zeros(N, 500).scatter_add(1, codes.ids.long(), codes.values)

    first, *others = in_each(say)
    assert (first > 0).any()
    for other in others:
        assert torch.equal(other > 0, first > 0)
        assert torch.allclose(other, first, rtol=1e-5, atol=1e-5 * float(first.max()))


def test_no_rows_have_no_codes():
    _, weight, bias = usual()
    rows = Rows(weight)
    assert candidates.top(torch.zeros(0, D), rows, bias, K).values.shape == (0, K)
    assert len(candidates.above(torch.zeros(0, D), rows, bias).ids) == 0


def test_room_grows_with_what_rows_need(monkeypatch):
    x, weight, bias = usual()
    rows, again = Rows(weight), []
    rows.compute_in(torch.bfloat16)
    products = candidates._products
    monkeypatch.setattr(candidates, "_products", lambda *given: again.append(given[-1]) or products(*given))
    first = candidates.above(x, rows, bias + 1)  # half of all features fire
    assert len(again) == 2 and again[1] is None, "the first time rows are done again, in float32"
    second = candidates.above(x, rows, bias + 1)
    assert len(again) == 3 and torch.equal(first.ids, second.ids) and torch.equal(first.values, second.values)


def test_another_device_or_new_data_renews_the_rounded_copy():
    for dtype in DTYPES[1:]:
        rows = Rows(drawn(20, D))
        rows.compute_in(dtype)
        rows.errors()
        rows.data.mul_(3)
        rows.refresh()
        length, missed = rows.errors()
        assert torch.allclose(length, rows.data.norm(dim=1))
        assert (missed < 0.05 * length).all()
