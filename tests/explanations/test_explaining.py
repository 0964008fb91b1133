"""explain(): from a dictionary to rules on disk, judged, the same however often it is stopped; the program's share."""

import json
import shutil

import numpy as np
import pytest
import torch
from pictures import pixel_model

from physalis.codes import StoredCodes, encode
from physalis.errors import BadInput
from physalis.explanations import Economy, Explanations, Rule, Surroundings, explain, pieces, program_share
from physalis.explanations.explained import RULES
from physalis.explanations.scores import f1s
from physalis.explanations.spoken import Spoken
from physalis.explanations.tables import NAMES

FEATURES = list(range(0, 64, 4))
WINDOWS = ["codes of the last 3 tokens", "codes of the last 8 tokens"]


@pytest.fixture(scope="module")
def codes(tiny_dictionary, tiny_activations, tmp_path_factory):
    out = tmp_path_factory.mktemp("codes") / "codes"
    encode(tiny_dictionary, tiny_activations, out=out)
    return out


@pytest.fixture(scope="module")
def explained(tiny, tiny_dictionary, tiny_activations, codes, tmp_path_factory):
    out = tmp_path_factory.mktemp("explained") / "rules"
    return explain(tiny_dictionary, tiny_activations, tiny, out, codes=codes, features=FEATURES, workers=1)


def test_a_rule_is_judged_by_what_it_predicts(explained, tiny, tiny_activations, codes):
    """Every stored number, counted again in another way."""
    vocabulary = tiny.corpus.pieces(range(max(tiny.corpus.ids) + 1))
    text = Surroundings(tiny_activations.tokens, vocabulary, explained.fields)
    held, stored = np.sort(tiny_activations.held_out.at), StoredCodes.open(codes)
    assert [each.feature for each in explained] == FEATURES
    for each in explained:
        true = np.zeros(text.n, np.float32)
        fired = stored.firings(each.feature)
        true[fired.at] = fired.values
        predicted = each.program.predict(text)[held]
        hits = int(((predicted > 0) & (true[held] > 0)).sum())
        said, fires = int((predicted > 0).sum()), int((true[held] > 0).sum())
        assert each.detection.f1.value == pytest.approx(2 * hits / max(1, said + fires))
        assert each.n_held_out == fires and each.n_fired + fires == len(fired.at)
        assert each.size == each.program.size <= Economy().leaves
        if each.correlation is not None:
            assert each.correlation == pytest.approx(np.corrcoef(predicted, true[held])[0, 1], abs=1e-6)


def test_the_mean_is_of_the_features(explained):
    fires = [each for each in explained if each.n_held_out]
    assert explained.mean.features == len(fires)
    assert explained.mean.f1.value == pytest.approx(np.mean([each.detection.f1.value for each in fires]))
    assert explained.mean.f1_strong.value == pytest.approx(np.mean([each.strong.f1.value for each in fires]))
    assert explained.mean.f1.value >= explained.mean.f1_token.value
    counts = explained.counts
    assert counts.shape[:3] == (len(FEATURES), 3, 4) and f1s(counts[:, 0]) == pytest.approx(
        [each.detection.f1.value for each in explained]
    )


def test_stopped_and_run_again_it_gives_the_same_bytes(
    explained, tiny, tiny_dictionary, tiny_activations, codes, tmp_path, monkeypatch
):
    monkeypatch.setattr("physalis.explanations.explaining.PIECE", 6)
    made = pieces._explain
    calls = []

    def stops(feature, *rest):
        calls.append(feature)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return made(feature, *rest)

    monkeypatch.setattr(pieces, "_explain", stops)
    job = (tiny_dictionary, tiny_activations, tiny, tmp_path / "rules")
    with pytest.raises(KeyboardInterrupt):
        explain(*job, codes=codes, features=FEATURES, workers=1)
    again = explain(*job, codes=codes, features=FEATURES, workers=1)
    assert calls[9:] == FEATURES[6:]
    assert again.manifest.files == explained.manifest.files and again.manifest.facts == explained.manifest.facts
    assert {each.name for each in (tmp_path / "rules").iterdir()} <= {
        *again.manifest.files,
        "manifest.json",
        "job.json",
        ".lock",
    }


def test_without_codes_they_are_encoded_and_not_kept(explained, tiny, tiny_dictionary, tiny_activations, tmp_path):
    found = explain(tiny_dictionary, tiny_activations, tiny, tmp_path / "rules", features=FEATURES[:2], workers=1)
    assert [each.rule for each in found] == [each.rule for each in explained][:2]
    assert not (tmp_path / "rules" / "codes").exists()


def test_it_is_read_back(explained):
    again = Explanations.open(explained.folder)
    assert len(again) == len(FEATURES) and again[8] == explained[8]
    assert again.table().loc[8, "rule"] == explained[8].rule
    assert "16 features" in repr(again)
    with pytest.raises(BadInput, match="3 is none of them"):
        again[3]


def test_what_is_damaged_is_told(explained, tmp_path):
    shutil.copytree(explained.folder, tmp_path / "rules")
    (tmp_path / "rules" / RULES).write_text("{}\n")
    with pytest.raises(BadInput, match=r"rules\.jsonl"):
        Explanations.open(tmp_path / "rules")


def test_a_text_of_ones_own_is_read(explained, tiny):
    text = explained.surroundings("alpha beta if", tiny)
    assert text.tokens.shape == (1, 13)
    assert explained[8].program.predict(text).shape == (13,)
    with pytest.raises(BadInput, match="There is no token"):
        explained.surroundings("", tiny)


def test_the_command_says_what_the_function_does(
    explained, physalis, tiny_dictionary, tiny_activations, codes, tmp_path
):
    words = ("explain", tiny_dictionary, tiny_activations.folder, "--codes", codes, "--out", tmp_path / "rules")
    code, out, err = physalis(*words, "--feature", "0", "--feature", "4", "--share", "320", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert [each["rule"] for each in said["explanations"]] == [explained[i].rule for i in (0, 4)]
    assert said["share"]["features"] == 2
    code, out, _ = physalis(*words, "--feature", "0", "--feature", "4")
    assert code == 0 and "2 rules" in out
    for wrong in ("-1", "9999"):
        code, _, err = physalis(*words, "--feature", wrong)
        assert code == 2 and wrong in err and "Traceback" not in err


def test_refusals_are_sentences(tiny, tiny_dictionary, tiny_activations, tmp_path):
    job = (tiny_dictionary, tiny_activations)
    with pytest.raises(BadInput, match=r"There are features 0 to .*; received \[9999\]"):
        explain(*job, tiny, tmp_path / "rules", features=[9999])
    with pytest.raises(BadInput, match="At least one worker"):
        explain(*job, tiny, tmp_path / "rules", workers=0)
    with pytest.raises(BadInput, match="Rules are about text"):
        explain(*job, pixel_model(), tmp_path / "rules")
    assert not (tmp_path / "rules").exists()


def test_the_share_of_a_program_that_says_the_codes_is_that_of_the_codes(
    explained, tiny, tiny_dictionary, tiny_activations, monkeypatch
):
    """Rules that are replaced by the true codes add what these add; those that say nothing, what no code adds."""
    rules = program_share(explained.folder, tiny_dictionary, tiny_activations, tiny, tokens=320)
    assert [each.name for each in rules.added] == ["true codes", "rules", *NAMES, *WINDOWS, "mean"]
    assert rules.features == len(FEATURES) and rules.leaves == sum(each.size for each in explained)
    silent = [each.model_copy(update={"rule": "never"}) for each in explained]
    monkeypatch.setattr(Explanations, "__iter__", lambda self: iter(silent))
    nothing = program_share(explained.folder, tiny_dictionary, tiny_activations, tiny, tokens=320)
    assert nothing.added[1].loss != rules.added[1].loss and nothing.added[0] != rules.added[0]

    def true_codes(self, places):
        stored = StoredCodes.open(codes_of)
        numbers = np.searchsorted(stored.at, places)
        every = stored.rows(0, stored.n_tokens)
        with torch.no_grad():
            return self.coder.decode(
                type(every)(*(part[torch.from_numpy(numbers)] for part in every)).of(every.n_features)
            )

    codes_of = explained.folder.parent / "codes"
    encode(tiny_dictionary, tiny_activations, out=codes_of)
    monkeypatch.setattr("physalis.explanations.program.Program.at", true_codes)
    same = program_share(explained.folder, tiny_dictionary, tiny_activations, tiny, tokens=320)
    assert same.added[1].loss.value == pytest.approx(same.added[0].loss.value, abs=2e-3)
    assert same.recovered is None or same.recovered.value == pytest.approx(1, abs=0.02)


def test_rules_are_lines_of_json(explained):
    lines = (explained.folder / RULES).read_text(encoding="utf-8").split("\n")[:-1]
    assert [json.loads(line)["feature"] for line in lines] == FEATURES
    assert all(str(Rule.parse(json.loads(line)["rule"])) == json.loads(line)["rule"] for line in lines)


def test_smaller_programs_say_less(explained, tiny, tiny_dictionary, tiny_activations):
    share = program_share(
        explained.folder,
        tiny_dictionary,
        tiny_activations,
        tiny,
        tokens=320,
        windows=(),
        leaves=(1, 99),
        features=(3, 64),
    )
    rules = next(each for each in share.added if each.name == "rules")
    one, most, three, every = share.smaller
    for whole in (most, every):
        assert whole.total == share.leaves and whole.loss.value == pytest.approx(rules.loss.value, abs=1e-4)
    assert one.total <= len(FEATURES) < share.leaves and 0 < three.total < share.leaves
    assert (one.leaves, one.features, three.leaves, three.features) == (1, None, None, 3)
    assert one.loss.value != rules.loss.value != three.loss.value
    alone = program_share(explained.folder, tiny_dictionary, tiny_activations, tiny, tokens=320, windows=(), leaves=())
    assert alone.smaller == () and {each.name for each in alone.added}.isdisjoint(WINDOWS)
    with pytest.raises(BadInput, match=r"leaves=\(0,\)"):
        program_share(explained.folder, tiny_dictionary, tiny_activations, tiny, leaves=(0,))


def test_a_program_without_clauses_says_the_mean_code(explained, tiny, tiny_dictionary, tiny_activations, codes):
    """What a rule's clauses said is said by the mean of the rest, so that without any it is the mean of all."""
    vocabulary = tiny.corpus.pieces(range(max(tiny.corpus.ids) + 1))
    text = Surroundings(tiny_activations.tokens, vocabulary, explained.fields)
    train, stored = tiny_activations.train.at, StoredCodes.open(codes)
    spoken = Spoken.of(explained, text, train, tiny_activations.held_out.at)
    without = spoken.cut(0)
    assert without.size == 0
    for each in explained:
        fired = stored.firings(each.feature)
        mean = fired.values[np.isin(fired.at, train)].sum(dtype=np.float64) / len(train)
        assert without.otherwise[each.feature] == pytest.approx(mean, rel=0.02, abs=1e-6)
