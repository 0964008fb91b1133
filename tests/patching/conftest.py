"""Every family once, and two runs of it that differ."""

import pytest
import torch
from made_models import Pair
from test_families import CASES, opened


@pytest.fixture(scope="session", params=CASES, ids=lambda case: case.name)
def pair(request: pytest.FixtureRequest) -> Pair:
    draw = torch.Generator().manual_seed(3)
    clean, corrupted = torch.randint(0, 256, (2, 2, 6), generator=draw)
    return Pair(request.param.name, opened(request.param).model, clean, corrupted)
