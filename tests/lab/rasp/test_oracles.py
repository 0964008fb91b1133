"""An oracle's features make what the MLP makes, of every input, and fire where they say they do."""

import pytest
import torch

from physalis.errors import BadInput
from physalis.lab.rasp import TASKS, evaluate, hidden, induction, oracle, two_hop
from physalis.site import Site


@pytest.mark.parametrize("make", TASKS, ids=lambda make: make.__name__)
def test_an_oracle_makes_what_the_mlp_makes(make):
    task = make()
    compiled = task.compiled()
    ids = compiled.encode([each for each in task.inputs(400) if len(each) == task.longest])
    for each in (compiled, hidden(compiled)):
        for layer in range(each.model.n_layers):
            reads, writes = Site("mlp_in", layer), Site("mlp_out", layer)
            got = each.model.run(ids, read=[reads, writes])
            found = oracle(each, layer)
            codes = torch.relu(got[reads] @ found.W_enc.T + found.b_enc)
            assert torch.allclose(codes @ found.W_dec + found.b_dec, got[writes], atol=1e-4)
            assert len(found.neurons) == len(found.W_enc)
            x, y = got[reads].flatten(0, 1), got[writes].flatten(0, 1)
            dictionary = found.dictionary()
            assert torch.allclose(dictionary.decode(dictionary.encode(x)), y, atol=1e-4)
            # where an input begins none fires: it holds no value of any variable
            assert not (codes[:, 0] > 0).any()


def test_a_feature_fires_where_it_says():
    task = two_hop()
    compiled = hidden(task.compiled())
    found = oracle(compiled, 1)
    drawn = [each for each in task.inputs(200) if len(each) == task.longest]
    x = compiled.model.run(compiled.encode(drawn), read=[Site("mlp_in", 1)])[Site("mlp_in", 1)][:, 1:]
    fires = torch.relu(x @ found.W_enc.T + found.b_enc) > 0
    city = compiled.wiring["city of the person before"].sop
    truth = [evaluate(city, each) for each in drawn]
    seen = set()
    for i, neuron in enumerate(found.neurons):
        assert neuron.variable == "country of that city"
        cities = neuron.says.removeprefix("city of the person before = ").split(" or ")
        assert fires[..., i].tolist() == [[str(value) in cities for value in row] for row in truth]
        seen |= {*cities}
    assert {str(value) for row in truth for value in row} <= seen


def test_a_layer_without_neurons_has_a_dictionary_of_nothing():
    found = oracle(induction().compiled(), 0)
    assert found.W_enc.shape[0] == 0 and not found.neurons and found.dictionary().config.n_features == 2
    x = torch.randn(5, found.W_enc.shape[1])
    assert not found.dictionary().decode(found.dictionary().encode(x)).any()
    with pytest.raises(BadInput, match="layers 0 to 1; received layer 2"):
        oracle(induction().compiled(), 2)
