"""L0Control: as many features fire as were asked for, also where products are rounded."""

import pytest
import torch

from physalis import dictionaries
from physalis.types import Batch

D, F, K = 16, 48, 4


@pytest.mark.parametrize("kind", [dictionaries.L1, dictionaries.L1Resampled])
def test_as_many_fire_where_products_are_rounded(kind):
    """A bias is moved by less than bfloat16 tells apart beside the largest pre-activation."""
    x = torch.randn(2_000, D, generator=torch.Generator().manual_seed(0))
    d = dictionaries.make(kind.__name__, {"d_in": D, "d_out": D, "n_features": F, "k": K})
    d.start(Batch(x, x), seed=0)
    d.compute_in(torch.bfloat16)
    x[0] *= 2_000
    d.finish(Batch(x, x))
    assert float((d.encode(x).values > 0).sum()) / 2_000 == pytest.approx(K, rel=0.02)
