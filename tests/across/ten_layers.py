"""A small model with the layers that examples name, under every name: here, and as what a worker runs."""

import sys
from collections.abc import Callable
from multiprocessing.connection import Connection

import physalis
from physalis.cli.learning import demo
from physalis.models import Model
from physalis.models.tiny import TinyConfig, tiny_model
from physalis.web.atlas import live
from physalis.web.worker import service


def loaded(name: str, **_: object) -> Model:
    return tiny_model(config=TinyConfig(n_layers=10, d_model=16, d_mlp=16))


def load_it_everywhere(put: Callable[[object, str, object], None] = setattr) -> None:
    for module in (physalis, demo, live):
        put(module, "load_model", loaded)


if __name__ == "__main__":
    load_it_everywhere()
    service.work(Connection(int(sys.argv[1])))
