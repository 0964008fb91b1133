"""The parts of MLPs are found in every family; the rules change no value, and leave nothing behind."""

import pytest
import torch
from made_models import pair_of
from test_inner_sites import GATED
from torch import nn
from torch.nn import functional as F

from physalis.errors import BadInput
from physalis.models import tiny_model
from physalis.patching.linearising import linear_mlps, mlps
from physalis.site import Site

LOGITS = Site("logits")


def test_parts_are_found(pair):
    found = mlps(pair.model)
    assert [mlp.layer for mlp in found] == list(range(pair.model.n_layers))
    assert all(mlp.gated == (pair.name in GATED) for mlp in found)
    for mlp in found:
        assert "activation" in type(mlp.act).__module__
        inside = dict(pair.model.hf.named_modules())
        name = next(name for name, module in inside.items() if module is mlp.down)
        assert name.endswith(("down_proj", "c_proj", "dense_4h_to_h", "fc2", "mlp.2"))


def test_no_value_changes_and_no_hook_stays(pair):
    plain = pair.model.run(pair.clean, read=[LOGITS])[LOGITS]
    before = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pair.model.hf.modules())
    with linear_mlps(pair.model):
        assert torch.equal(pair.model.run(pair.clean, read=[LOGITS])[LOGITS], plain)
    with pytest.raises(RuntimeError, match="mine"), linear_mlps(pair.model):
        raise RuntimeError("mine")
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pair.model.hf.modules()) == before


@pytest.mark.parametrize("name", GATED)
def test_an_mlp_is_its_gradient_times_what_it_reads(name):
    """At its own position alone; these have no biases."""
    pair, site_in, site_out = pair_of(name), Site("mlp_in", 1), Site("mlp_out", 1)
    freeze = pair.model.freeze(pair.clean)
    x = pair.model.run(pair.clean, read=[site_in])[site_in].requires_grad_()
    with linear_mlps(pair.model):
        out = pair.model.run_with_gradients(pair.clean, read=[site_out], write={site_in: lambda _: x}, freeze=freeze)
        gradient = torch.autograd.grad(out[site_out][0, 2].sum(), x)[0]
    assert not gradient[1].any() and not gradient[0, 3].any()
    torch.testing.assert_close((gradient * x).sum(), out[site_out][0, 2].sum(), atol=1e-4, rtol=1e-4)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.gelu(self.up(x)))


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Sequential(nn.Linear(32, 8), nn.GELU(), nn.Linear(8, 32)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([part(x) for part in self.parts]).sum(0)


@pytest.mark.parametrize(("mlp", "n"), [(Functional, 0), (Experts, 2)])
def test_what_is_no_one_module_is_refused(mlp, n):
    model = tiny_model()
    model.hf.get_submodule("blocks.1").mlp = mlp()
    with (
        pytest.raises(BadInput, match=f"MLP of layer 1 of tiny has {n} modules that are a nonlinearity"),
        linear_mlps(model),
    ):
        pass
    assert not any(len(m._forward_hooks) for m in model.hf.modules())


def test_norms_and_dropout_are_no_nonlinearity():
    model = tiny_model()
    block = model.hf.get_submodule("blocks.0")
    block.mlp = nn.Sequential(
        nn.RMSNorm(32, elementwise_affine=False), nn.Linear(32, 32), nn.Dropout(), nn.Tanh(), nn.Linear(32, 32)
    ).eval()  # fmt: skip
    assert isinstance(mlps(model)[0].act, nn.Tanh)
