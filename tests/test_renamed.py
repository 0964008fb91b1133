"""Old names: each leads to what it was, with a warning, and nothing else is answered to."""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import physalis
from physalis.renamed import CLASSES, MODULES, Finder, now


def test_each_old_name_leads_somewhere_and_is_free():
    for old, new in MODULES.items():
        assert find_spec(f"physalis.{new}") is not None, old
        parts = old.split(".")
        there = physalis.__path__[0]
        path = "/".join([there, *parts])
        assert not any(map(_exists, (path + ".py", path + "/__init__.py"))), f"{old} is something again"


def _exists(path):

    return Path(path).exists()


def test_an_old_name_is_the_same_module():
    for name in ("physalis.deaths", "physalis.deaths.records"):
        sys.modules.pop(name, None)
    with pytest.warns(FutureWarning) as said:
        old = import_module("physalis.deaths.records")
    told = [str(each.message) for each in said]
    assert told[-1] == "physalis.deaths.records is called physalis.dead_features.records now."
    new = import_module("physalis.dead_features.records")
    assert (
        old is new
        and new.__spec__ is not None
        and new.__spec__.name == new.__name__ == "physalis.dead_features.records"
    )


@pytest.mark.parametrize("module", CLASSES)
def test_an_old_class_comes_with_its_old_module(module):
    for was in [old for old, new in MODULES.items() if module == new] or ["deaths.records"]:
        sys.modules.pop(f"physalis.{was}", None)
        with pytest.warns(FutureWarning):
            old = import_module(f"physalis.{was}")
        for before, after in CLASSES[module].items():
            assert getattr(old, before) is getattr(import_module(f"physalis.{module}"), after)


def test_an_old_class_of_a_module_that_kept_its_name():
    notes, refusals = import_module("physalis.people.notes"), import_module("physalis.people.refusals")
    for before, after in CLASSES["people.notes"].items():
        vars(notes).pop(before, None)
        with pytest.warns(FutureWarning, match=f"physalis.people.notes.{before} is called {after} now."):
            assert getattr(notes, before) is getattr(refusals, after)
    assert "NotThere" not in dir(notes)


def test_an_old_function_is_the_same_function():
    with pytest.warns(FutureWarning, match="explain_deaths is called explain_dead_features now"):
        assert physalis.explain_deaths is physalis.explain_dead_features
    assert "explain_deaths" not in dir(physalis)


def test_nothing_else_is_answered_to():
    assert now("physalis.site") is None and now("torch.deaths") is None and now("physalis") is None
    with pytest.raises(ModuleNotFoundError):
        import_module("physalis.nothing")
    assert sum(isinstance(each, Finder) for each in sys.meta_path) == 1


def test_an_old_verb_is_answered_to_and_a_misspelt_one_corrected(physalis):
    for old in ("autopsy", "deaths"):
        code, out, err = physalis(old, "--help")
        assert code == 0 and "dead" in out and f"`{old}` is called `dead-features` now." in err
    code, _, err = physalis("dead-feature")
    assert code == 2 and 'Did you mean "dead-features"?' in err
