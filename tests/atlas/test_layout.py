"""The map: neighbours lie together, dead features nowhere, and a seed decides everything."""

import numpy as np
import pytest
import torch

from physalis.atlas.build.effects import nearest_directions
from physalis.atlas.build.layout import lay_out


def groups(n: int, k: int) -> tuple[torch.Tensor, np.ndarray]:
    generator = torch.Generator().manual_seed(0)
    centre = torch.randn(k, 24, generator=generator)
    member = torch.randint(k, (n,), generator=generator)
    return centre[member] + 0.3 * torch.randn(n, 24, generator=generator), member.numpy()


def test_groups_stay_together_and_apart() -> None:
    directions, member = groups(400, 5)
    living = np.ones(400, bool)
    nearest = nearest_directions(directions, torch.from_numpy(living), n=12)
    assert (member[nearest.ids] == member[:, None]).all()
    placed = lay_out(directions.numpy(), living, nearest.ids, nearest.cosine, seed=0)
    place = np.stack([placed.x, placed.y], 1)
    assert place.min() >= 0 and place.max() <= 1
    middle = np.array([place[member == g].mean(0) for g in range(5)])
    spread = max(np.linalg.norm(place[member == g] - middle[g], axis=1).mean() for g in range(5))
    gaps = [np.linalg.norm(middle[a] - middle[b]) for a in range(5) for b in range(a)]
    assert min(gaps) > 2 * spread
    again = lay_out(directions.numpy(), living, nearest.ids, nearest.cosine, seed=0)
    assert all((a == b).all() for a, b in zip(placed, again, strict=True))


@pytest.mark.parametrize("alive", [0, 1, 2, 3, 20])
def test_few_living_features(alive: int) -> None:
    directions, _ = groups(20, 3)
    living = np.arange(20) < alive
    nearest = nearest_directions(directions, torch.from_numpy(living), n=16)
    assert set(nearest.ids.reshape(-1)) <= {-1, *range(alive)}
    assert (nearest.ids != np.arange(20)[:, None]).all()
    placed = lay_out(directions.numpy(), living, nearest.ids, nearest.cosine, seed=0)
    assert ((placed.region >= 0) == living).all() and np.isfinite(placed.x).all() and np.isfinite(placed.y).all()
