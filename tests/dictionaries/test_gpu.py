"""Triton kernels against the CPU's, in Triton's interpreter where there is no GPU; and that they compile."""

import os
import subprocess
import sys

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is imported
pytest.importorskip("triton", reason="triton is not installed: pip install 'physalis[gpu]', 1 GB unpacked")

from physalis.dictionaries.kernels import gpu, rows
from physalis.dictionaries.kernels.rows import Outer, Rows
from physalis.training.adam import Adam
from physalis.types import Codes

pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
N, D, F, K = 9, 40, 70, 5


def there(*tensors):
    return [tensor.to(DEVICE) for tensor in tensors]


def close(a, b):
    return torch.allclose(a.cpu(), b.cpu(), atol=1e-5, rtol=1e-5)


@pytest.fixture
def weight():
    return Rows(torch.randn(F, D, generator=torch.Generator().manual_seed(1)))


@pytest.fixture
def codes(weight):
    """Codes of random rows, some of them padding."""
    x = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
    found = rows.top(x, weight, torch.zeros(F), K)
    return Codes(found.values * (torch.arange(K) < torch.arange(N)[:, None]), found.ids)


@pytest.fixture
def vectors():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("features", "k"), [(70, 5), (64, 1), (5000, 7), (33, 32)])
def test_selection(dtype, features, k):
    product = torch.randn(4, features, generator=torch.Generator().manual_seed(3)).to(dtype)
    product[3] = -1.0  # nothing to choose
    product[2, :20] = 1.5  # equal entries
    values, ids = gpu.select_top(*there(product), k)
    values, ids = values.cpu(), ids.cpu()
    wanted = product.float().clamp_min(0).topk(k, dim=1).values
    assert torch.equal(values.sort(dim=1, descending=True).values, wanted)
    used = values > 0
    assert torch.equal(product.float().gather(1, ids.long())[used], values[used])
    assert all(len(set(row[mask].tolist())) == int(mask.sum()) for row, mask in zip(ids, used, strict=True))


def test_sums_of_rows(codes, weight, vectors):
    wanted = rows.add_rows(codes, weight, vectors.clone())
    values, ids, W, out = there(codes.values, codes.ids, weight.data, vectors.clone())
    gpu.add_rows(values, ids, W, out)
    assert close(out, wanted)


def test_dot_products_at_the_pattern(codes, weight, vectors):
    found = gpu.dot_rows(*there(vectors, codes.ids, codes.values, weight.data))
    assert close(found, rows.dot_rows(vectors, codes, weight))
    assert not found.cpu()[codes.values == 0].any()


@pytest.mark.parametrize("pointed", [False, True])
def test_the_transposed_outer_product(codes, vectors, pointed):
    at = torch.randint(0, N, (N, K), generator=torch.Generator().manual_seed(4)).int() if pointed else None
    wanted = rows.outer_sum(Outer(codes.ids, codes.values, vectors, at), F)
    out = torch.zeros(F, D, device=DEVICE)
    moved = there(codes.ids, codes.values, vectors)
    gpu.add_outer(moved[0], moved[1], None if at is None else at.to(DEVICE), moved[2], out)
    assert close(out, wanted)


@pytest.mark.parametrize("on_sphere", [False, True])
@pytest.mark.parametrize("half", [False, True])
def test_adam(codes, weight, vectors, on_sphere, half):
    if on_sphere:
        weight.data.div_(weight.data.norm(dim=1, keepdim=True))
    weight.on_sphere = on_sphere
    if half:
        weight.compute_in(torch.bfloat16)
    copied = weight.data.clone().to(DEVICE)
    rounded = copied.to(torch.bfloat16) if half else None
    m, v = torch.zeros_like(copied), torch.zeros_like(copied)
    more = torch.randn(F, D, generator=torch.Generator().manual_seed(5))
    adam = Adam([("weight", weight)])
    ids, values, moved, extra = there(codes.ids, codes.values, vectors, more)
    for step in (1, 2, 3):
        weight.outers.append(Outer(codes.ids, codes.values, vectors))
        weight.grad = more.clone() if step > 1 else None
        adam.step(0.01)
        gpu.adam_outer(
            ids, values, None, moved, extra if step > 1 else None, copied, m, v, rounded, on_sphere=on_sphere, lr=0.01,
            b1=adam.b1, b2=adam.b2, c1=1 / (1 - adam.b1**step), c2=1 / (1 - adam.b2**step), eps=adam.eps,
        )  # fmt: skip
    assert close(copied, weight.data) and close(m, adam.m["weight"])
    assert torch.allclose(v.cpu(), adam.v["weight"], rtol=1e-4)  # 1 - .999 in float32 is off by so much
    if half:
        assert torch.allclose(rounded.float().cpu(), weight.half.float(), rtol=0.01, atol=1e-4)


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from physalis.dictionaries.kernels import gpu

TYPES = {"product": "*bf16", "half": "*bf16", "ids": "*i32", "out_ids": "*i32", "at": "*i32", "start": "*i64",
         "entry": "*i64", "features": "i32", "k": "i32", "d": "i32", "most": "i32"}
TYPES |= dict.fromkeys(("lr", "b1", "b2", "c1", "c2", "eps"), "fp32")

for kernel, fixed in (
    (gpu._select_top, {"SHIFT": 16, "CHUNK": 4096}),
    (gpu._add_rows, {"BLOCK": 512}),
    (gpu._dot_rows, {"BLOCK": 512}),
    (gpu._add_outer, {"HAS_AT": True, "BLOCK": 512}),
    (gpu._adam_outer, {"HAS_AT": True, "HAS_MORE": True, "HAS_HALF": True, "ON_SPHERE": True, "WHOLE": 1024}),
):
    signature = {name: "constexpr" if name in fixed else TYPES.get(name, "*fp32") for name in kernel.arg_names}
    constants = {(kernel.arg_names.index(name),): value for name, value in fixed.items()}
    made = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32))
    print(kernel.__name__, len(made.asm["cubin"]) > 0)
"""


def test_they_compile_for_an_h100():
    """In a process of its own, in which triton does not interpret."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    told = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("True") == 5


def test_rows_and_adam_take_these_kernels_on_a_gpu():
    """That they are there to be taken; without a GPU there is nothing to take them."""
    assert (rows.gpu is not None) == torch.cuda.is_available()
