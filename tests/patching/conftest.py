"""Every family once, and two runs of it that differ."""

import pytest
from made_models import CASE, Pair, pair_of


@pytest.fixture(scope="session", params=CASE)
def pair(request: pytest.FixtureRequest) -> Pair:
    return pair_of(request.param)
