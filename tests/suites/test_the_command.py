"""`physalis evaluate --suite` calls the same function, and says what does not fit."""

import json

SMALL = ("--rounds", 3, "--texts", 20, "--splice-tokens", 64, "--world-samples", 0, "--task", "1_has_digits")


def test_several_dictionaries_stand_before_the_recording(physalis, seeds, tiny_activations, wheel, tmp_path):
    asked = (
        "evaluate",
        *seeds,
        tiny_activations.folder,
        "--suite",
        "--probes",
        wheel,
        "--out",
        tmp_path / "suite",
        *SMALL,
    )
    code, out, error = physalis(*asked, "--json")
    assert code == 0, error
    said = json.loads(out)
    assert [*said["dictionaries"]] == ["topk, n_features 128", "topk, n_features 64"]
    assert {"metric", "dictionary", "value", "noise", "smallest_difference"} <= {*said["scores"][0]}
    assert {each["metric"] for each in said["dropped"]}.isdisjoint(each["metric"] for each in said["scores"])
    assert any(each["metric"] == "fvu" and each["means_something"] is not None for each in said["differences"])
    code, out, error = physalis(*asked)
    assert code == 0, error
    for word in (
        "variance unexplained",
        "best k",
        "means something",
        "L0: topk",
        *("Dropped: " for _ in said["dropped"][:1]),
    ):
        assert word in out
    assert physalis("verify", tmp_path / "suite")[0] == 0


def test_what_does_not_fit_is_a_sentence(physalis, seeds, tiny_activations, tmp_path):
    for asked, said in (
        ((seeds[0], tiny_activations.folder, "--rounds", 3), "--rounds is for the suite"),
        ((seeds[0], seeds[1], "--suite"), "On what?"),
        ((tiny_activations.folder, tiny_activations.folder, "--suite"), "not a dictionary"),
        ((seeds[0], tiny_activations.folder, "--suite", "--probes", tmp_path / "none.whl"), "There is no"),
    ):
        code, out, error = physalis("evaluate", *asked, "--out", tmp_path / "out")
        assert code == 2 and said in " ".join(error.split()) and "Traceback" not in error, error
