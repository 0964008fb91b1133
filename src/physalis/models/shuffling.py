"""shuffling: a model whose weights are shuffled, the control for whatever is said of features.

Dictionaries of random transformers have features that look as well explained as those of trained ones (Heap et al.
2025, arXiv 2501.17727): what a score says of such a model, it does not say of what was learned.
"""

import copy

import torch

from physalis.models.model import Model
from physalis.models.sites.places import module_of


def shuffled(model: Model, *, seed: int = 0) -> Model:
    """A copy of a model with the elements of each weight matrix of its layers in an order of chance: every matrix keeps
    its values, and what was learned is gone. Embedding, unembedding, norms and biases stay as they are, so that tokens
    can still be told apart. Its fingerprint is another; memory holds both."""
    hf = copy.deepcopy(model.hf)
    random = torch.Generator().manual_seed(seed)
    layers = module_of(hf, model.family.blocks, model.family)
    with torch.no_grad():
        for _, weights in sorted(layers.named_parameters()):
            if weights.ndim > 1:
                order = torch.randperm(weights.numel(), generator=random).to(weights.device)
                weights.copy_(weights.flatten()[order].view_as(weights))
    return Model(hf, model.corpus, name=f"{model.name}, shuffled", family=model.family)
