"""What a GGUF file holds is unpacked once: the same model each time, made anew where it is damaged, by two at once."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_models import save_gguf

from physalis.models import Model, load_model
from physalis.models.sources import loading


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHYSALIS_CACHE", str(tmp_path / "cache"))
    save_gguf(tmp_path / "small.gguf")
    return tmp_path / "small.gguf"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders that were made."""
    folders: list[Path] = []
    convert = loading._convert

    def counted(gguf: Path, folder: Path, dtype: torch.dtype) -> None:
        folders.append(folder)
        convert(gguf, folder, dtype)

    monkeypatch.setattr(loading, "_convert", counted)
    return folders


def load(path: Path, dtype: torch.dtype = torch.float32, *, cache: bool = True) -> Model:
    return load_model(str(path), device="cpu", dtype=dtype, cache=cache)


def kept(path: Path) -> list[Path]:
    return sorted((path.parent / "cache").glob("gguf-*"))


def equal(a: Model, b: Model) -> bool:
    weights = zip(a.hf.named_parameters(), b.hf.named_parameters(), strict=True)
    same = all(n == m and torch.equal(p, q) for (n, p), (m, q) in weights)
    return same and (a.fingerprint, a.tokenizer_fingerprint) == (b.fingerprint, b.tokenizer_fingerprint)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_same_model_with_a_cache_and_without(path: Path, made: list[Path], dtype: torch.dtype) -> None:
    plain = load(path, dtype, cache=False)
    assert not kept(path) and not made
    first, again = load(path, dtype), load(path, dtype)
    assert len(made) == 1 and len(kept(path)) == 1
    assert equal(first, plain) and equal(again, plain)
    assert again.name == plain.name == str(path)


def test_what_is_kept_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(path)
    said = capsys.readouterr()
    assert said.out == "" and "Unpacking small.gguf, once" in said.err
    assert f"MB are kept in {kept(path)[0]}." in said.err
    load(path)
    assert capsys.readouterr().err == ""


def test_another_file_or_dtype_is_another_model(path: Path, made: list[Path]) -> None:
    load(path)
    load(path, torch.bfloat16)
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    load(path)
    assert len(made) == 3 and len(kept(path)) == 3


def test_an_environment_without_a_cache(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHYSALIS_NO_CACHE", "1")
    load(path)
    assert not kept(path)


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-3] ^= 4
    file.write_bytes(data)


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "model.safetensors").write_bytes(b""),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: flip(folder / "model.safetensors"),
        lambda folder: (folder / "config.json").write_text("{}"),
        lambda folder: (folder / "kept.json").unlink(),
        lambda folder: (folder / "kept.json").write_text("[]"),
        lambda folder: [file.unlink() for file in folder.iterdir()],
    ],
    ids=["empty", "gone", "flipped", "config", "record gone", "record", "nothing left"],
)
def test_what_is_damaged_is_made_anew(path: Path, made: list[Path], harm: object) -> None:
    plain = load(path, cache=False)
    load(path)
    harm(kept(path)[0])
    assert equal(load(path), plain) and equal(load(path), plain)
    assert len(made) == 2
    assert [p.name for p in (path.parent / "cache").iterdir()] == [kept(path)[0].name]


def test_a_cache_that_cannot_be_written_is_done_without(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (path.parent / "file").write_text("")
    monkeypatch.setenv("PHYSALIS_CACHE", str(path.parent / "file" / "cache"))
    assert load(path).n_layers == 1
    assert "What small.gguf holds is not kept" in capsys.readouterr().err


def test_two_processes_at_once(path: Path) -> None:
    code = f"from physalis.models import load_model; print(load_model({str(path)!r}, device='cpu').fingerprint)"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert said[0] == said[1] == load(path, cache=False).fingerprint
    assert [p.name for p in (path.parent / "cache").iterdir()] == [kept(path)[0].name]
