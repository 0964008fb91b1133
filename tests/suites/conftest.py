"""A wheel of made-up tasks, and dictionaries of the tiny model from two seeds."""

import pytest
from made_up import write_wheel

from physalis.dictionaries import TopKConfig
from physalis.training.training import train


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    return write_wheel(tmp_path_factory.mktemp("wheel") / "made_up-1-py3-none-any.whl")


@pytest.fixture(scope="session")
def seeds(tiny_activations, tmp_path_factory):
    """Folders of the same dictionary trained from two seeds, and of a narrower one."""
    folder, d = tmp_path_factory.mktemp("seeds"), tiny_activations.d
    shape = {"d_in": d, "d_out": d, "k": 4}
    wide, narrow = (TopKConfig(n_features=n * d, **shape) for n in (4, 2))
    for seed in (0, 1):
        train(tiny_activations, [wide], [folder / f"wide-{seed}"], batch_size=512, epochs=1, seed=seed)
    train(tiny_activations, [narrow], [folder / "narrow"], batch_size=512, epochs=1)
    return folder / "wide-0", folder / "wide-1", folder / "narrow"
