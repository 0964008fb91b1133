"""Tables: features, examples, codes, evaluations and comparisons as pandas and numpy, and what notebooks show."""

import shutil
import sys

import numpy as np
import planted
import pytest
import torch

import physalis as ph
from physalis import dictionaries
from physalis.atlas.records import Example, ExampleGroup, Examples
from physalis.evaluation import Evaluation
from physalis.types import Codes

GROUP = ExampleGroup(
    name="top", low=1, high=2, share_of_firings=0.5, share_of_code=0.5,
    examples=[Example(document=3, position=1, tokens=["a ", "b ", "c"], codes=[0, 1.5, 0])] * 2,
)  # fmt: skip


@pytest.fixture
def pandas():
    return pytest.importorskip("pandas", reason="pandas is not installed: pip install '.[dev]'")


def known(pandas, row):
    """A row's values, None where there is none."""
    return {name: None if pandas.isna(value) else value for name, value in row.items()}


def test_an_atlas_has_a_row_a_feature(pandas, tiny_atlas):
    made = tiny_atlas.table()
    assert made.index.tolist() == [*range(len(tiny_atlas))] and made.index.name == "id"
    for row in tiny_atlas.list(limit=5).rows:
        said = row.model_dump(exclude={"id", "snippet", "snippet_codes", "named_by", "rule"})
        assert set(said) == set(made.columns) and made.loc[row.id].to_dict() == said
    assert made.n_fired.dtype == made.region.dtype == np.int64
    made.loc[0, "density"] = 2  # the table is one's own
    assert tiny_atlas.table().density.max() <= 1


def test_lists_and_what_a_page_lists_are_tables(pandas, tiny_atlas):
    listed = tiny_atlas.list(limit=3)
    assert listed.table().headline.tolist() == [row.headline for row in listed.rows]
    feature = tiny_atlas[listed.rows[0].id]
    tokens = ph.table(feature.top_tokens, index="token")
    assert tokens["count"].tolist() == [each.count for each in feature.top_tokens]


def test_examples_stand_one_after_another(pandas, tiny_atlas):
    feature = tiny_atlas[tiny_atlas.list(limit=1).rows[0].id]
    assert [*feature.examples] == [each for group in feature.groups for each in group.examples]
    assert len(feature.examples) == len(feature.examples.table())
    both = Examples([GROUP, GROUP.model_copy(update={"name": "interval 1"})])
    assert both[0] == both[-1] == GROUP.examples[0] and len(both[:3]) == 3
    row = both.table().iloc[2]
    assert (row.level, row.document, row.token, row.code, row.text) == ("interval 1", 3, "b ", 1.5, "a b c")


def test_codes_are_rows_of_what_fires(pandas):
    codes = Codes(torch.tensor([[1.0, 3.0, 0.0], [0.0, 0.0, 2.0]]), torch.tensor([[7, 5, 5], [1, 2, 4]]))
    made = codes.table()
    assert made.to_dict("list") == {"token": [0, 0, 1], "feature": [5, 7, 4], "value": [3.0, 1.0, 2.0]}
    values, ids = codes.numpy()
    assert (values == codes.values.numpy()).all() and (ids == codes.ids.numpy()).all()


def test_codes_of_a_dictionary_that_learns_and_of_bfloat16_are_arrays():
    values = torch.ones(2, 1, dtype=torch.bfloat16, requires_grad=True)
    assert Codes(values, torch.zeros(2, 1, dtype=torch.int32)).numpy()[0].dtype == np.float32


def test_activations_come_in_the_order_of_the_text(tiny_activations):
    x, at = tiny_activations.numpy(), tiny_activations.at
    assert x.shape == (tiny_activations.n_tokens, tiny_activations.d) and (np.diff(at) > 0).all()
    for rows in tiny_activations.ordered(64):
        assert (x[np.searchsorted(at, rows.at.numpy())] == rows.x.float().numpy()).all()
    held = tiny_activations.held_out
    assert (held.numpy() == x[np.isin(at, held.at)]).all()


def test_pairs_come_side_by_side(tiny_activations):
    folder = tiny_activations.folder
    x, y = ph.Pairs.open([folder, folder], [folder]).numpy()
    assert (x == np.hstack([tiny_activations.numpy()] * 2)).all() and (y == tiny_activations.numpy()).all()
    x, y = ph.Pairs.open([folder]).numpy()
    assert y is x


def test_more_than_memory_holds_is_refused(tiny_activations, monkeypatch):
    monkeypatch.setattr("physalis.activations.arrays.free_memory", lambda device: 1000)
    with pytest.raises(ph.BadInput, match=r"0\.0 GB of memory are free.*held_out\.numpy"):
        tiny_activations.numpy()


def test_an_evaluation_is_a_table(pandas, tiny_evaluation):
    found = Evaluation.open(tiny_evaluation)
    made = found.table().set_index(["of", "metric"])
    assert made.loc[("this dictionary", "fvu"), "value"] == found.facts["metrics"]["fvu"]["value"]
    assert made.loc[("the mean", "fvu"), "value"] == 1
    assert {of for of, _ in made.index} == {"this dictionary", *(each["name"] for each in found.facts["baselines"])}


def test_an_evaluation_is_told_in_a_line_and_as_a_table_in_a_notebook(tiny_evaluation):
    found = Evaluation.open(tiny_evaluation)
    assert repr(found).startswith("Evaluation(fvu 0.") and "held-out tokens" in repr(found) and len(repr(found)) < 300
    facts = found.facts | {"baselines": [{"name": "<script>", "metrics": found.facts["metrics"]}]}
    page = found.model_copy(update={"facts": facts})._repr_html_()
    assert page.count("<tr>") == 1 + len(found.facts["metrics"]) and "&lt;script&gt;" in page and "<script" not in page


def test_a_comparison_has_a_row_a_feature_of_a_side(pandas, comparison):
    for side in ("a", "b"):
        made = comparison.table(side)
        assert len(made) == comparison.size(side)
        for row in comparison.features(side, limit=10_000).rows:
            assert known(pandas, made.loc[row.id]) == row.model_dump(exclude={"id"})
    assert comparison.features("a", limit=3).table().fate.tolist() == comparison.table("a").fate.tolist()[:3]


def test_a_forest_has_a_row_a_feature_of_a_level(pandas, forest):
    for level, width in enumerate(forest.summary.widths):
        made = forest.table(level)
        assert len(made) == width.n_features
        for id in range(0, width.n_features, 7):
            assert known(pandas, made.loc[id]) == forest.node(level, id).model_dump(exclude={"level", "feature"})
    with pytest.raises(ph.BadInput, match="received 9"):
        forest.table(9)


def test_intervals_are_three_columns(pandas):
    made = ph.table([{"k": 1, "fvu": {"value": 0.5, "low": 0.4, "high": None}}])
    assert made.columns.tolist() == ["k", "fvu", "fvu_low", "fvu_high"]


def test_what_is_no_record_is_refused(pandas):
    with pytest.raises(ph.BadInput, match="received a int"):
        ph.table([1])
    with pytest.raises(ph.BadInput, match="no field 'name'.*a"):
        ph.table([{"a": 1}], index="name")


def test_without_pandas_a_sentence_says_what_to_install(monkeypatch, tiny_atlas):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ph.BadInput, match=r"pip install 'physalis\[tables\]'"):
        tiny_atlas.table()


def test_public_objects_say_what_they_are(tiny_atlas, tiny_dictionary, tiny_evaluation, tiny_activations, comparison):
    feature, loaded = tiny_atlas[0], dictionaries.load(tiny_dictionary)
    assert f"{len(tiny_atlas):,} features at " in repr(tiny_atlas) and "tiny" not in repr(loaded)
    assert repr(feature) == f"Feature(0, {feature.headline!r}, fires on {feature.density:.3%} of tokens)"
    assert f"n_features={loaded.config.n_features}, k=" in repr(loaded)
    assert repr(tiny_atlas.manifest).startswith("Manifest(atlas of ")
    told = (tiny_atlas, tiny_atlas.summary(), tiny_atlas.map(), tiny_atlas.list(), feature, feature.examples, loaded)
    for each in (*told, comparison.summary, comparison.features("a"), tiny_activations, tiny_atlas.manifest):
        assert len(repr(each)) < 300 and " object at 0x" not in repr(each) and str(each) == repr(each)


def test_an_atlas_whose_file_is_gone_still_says_what_it_is(tiny_atlas, tmp_path):
    folder = shutil.copytree(tiny_atlas.folder, tmp_path / "atlas")
    atlas = ph.Atlas.open(folder)
    shutil.rmtree(folder)
    assert str(folder) in repr(atlas)


def test_a_notebook_shows_what_show_shows(tiny_atlas, comparison, forest):
    pytest.importorskip("anywidget", reason="anywidget is not installed: pip install '.[dev]'")
    for each in (tiny_atlas, tiny_atlas[0], tiny_atlas.map(), tiny_atlas.summary(), comparison, forest):
        bundle = each._repr_mimebundle_()
        assert "application/vnd.jupyter.widget-view+json" in bundle and bundle["text/plain"] == repr(each)
        assert type(each._display_()).__name__ == type(ph.show(each)).__name__


def test_without_anywidget_a_notebook_shows_a_line(monkeypatch, tiny_atlas):
    for name in ("physalis.web.notebooks.widgets", "anywidget"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "physalis.web.notebooks.widgets")
    monkeypatch.delattr("physalis.web.notebooks.widgets", raising=False)
    with pytest.raises(ph.BadInput, match=r"pip install 'physalis\[notebook\]'"):
        ph.show(tiny_atlas)
    assert tiny_atlas._repr_mimebundle_() == {"text/plain": repr(tiny_atlas)}
    assert tiny_atlas._display_() == repr(tiny_atlas)


def test_rows_are_put_where_the_text_has_them(tmp_path):
    """Several shards, shuffled inside."""
    x = torch.randn(planted.ROWS, 8)
    acts = ph.Activations.open(planted.write_activations(tmp_path / "acts", x))
    assert (acts.numpy() == x.bfloat16().float().numpy()).all() and (acts.at == np.arange(planted.ROWS)).all()
