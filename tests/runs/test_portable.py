"""The portable form of a run: one folder or archive that scores alike elsewhere, and archives that are refused."""

import io
import json
import tarfile

import numpy as np
import pytest

from eulernet import Predictor
from eulernet.errors import UserError


@pytest.mark.parametrize("name", ["pushed", "pushed.tar", "pushed.tar.gz"])
def test_what_is_pushed_predicts_alike(trained, tmp_path, name):
    first = Predictor.load(trained.run)
    first.push(tmp_path / name)
    again = Predictor.load(tmp_path / name)
    assert np.array_equal(first.predict(trained.rows), again.predict(trained.rows))
    assert again.report["test"] == first.report["test"]
    again.push(tmp_path / "again")
    assert Predictor.load(tmp_path / "again").fields == first.fields
    with pytest.raises(UserError, match="is there already"):
        first.push(tmp_path / name)


def test_a_folder_has_the_usual_names_and_nothing_of_this_machine(trained, tmp_path):
    Predictor.load(trained.run).push(tmp_path / "pushed")
    found = {str(file.relative_to(tmp_path / "pushed")) for file in (tmp_path / "pushed").rglob("*") if file.is_file()}
    assert {file for file in found if "vocab" not in file} == {
        "README.md", "config.json", "manifest.json", "model.safetensors", "preprocessor/meta.json", "report.json",
    }  # fmt: skip
    for file in (tmp_path / "pushed").rglob("*"):
        if file.is_file():
            assert str(trained.run.parent).encode() not in file.read_bytes(), file


def test_the_card_says_what_was_trained_and_how_well(trained, tmp_path):
    Predictor.load(trained.run).push(tmp_path / "pushed")
    card = (tmp_path / "pushed" / "README.md").read_text()
    report = json.loads((trained.run / "report.json").read_text())
    for said in (
        "# eulernet on table",
        f"AUC {report['test']['auc']:.6f}",
        "`city`",
        "Intended use",
        f"train {len(trained.data.train):,} (",
    ):
        assert said in card


def test_equal_predictors_are_equal_archives(trained, tmp_path):
    predictor = Predictor.load(trained.run)
    for name in ("a.tar", "b.tar"):
        predictor.push(tmp_path / name)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def archive(path, name, content=b"", **what):
    with tarfile.open(path, "w") as packed:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        for key, value in what.items():
            setattr(member, key, value)
        packed.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("../escaped", {}),
        ("/tmp/escaped", {}),
        ("preprocessor/vocab/../../escaped.parquet", {}),
        ("script.py", {}),
        ("model.safetensors", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
        ("config.json", {"type": tarfile.LNKTYPE, "linkname": "../config.json"}),
        ("manifest.json", {"type": tarfile.FIFOTYPE}),
    ],
)
def test_an_archive_with_other_things_is_refused(tmp_path, name, what):
    archive(tmp_path / "bad.tar", name, **what)
    with pytest.raises(UserError, match="is no part of a predictor"):
        Predictor.load(tmp_path / "bad.tar")
    assert [file.name for file in tmp_path.iterdir()] == ["bad.tar"]


def test_a_truncated_archive_is_refused(trained, tmp_path):
    Predictor.load(trained.run).push(tmp_path / "a.tar.gz")
    whole = (tmp_path / "a.tar.gz").read_bytes()
    for size in (0, 100, len(whole) // 2):
        (tmp_path / "a.tar.gz").write_bytes(whole[:size])
        with pytest.raises(UserError):
            Predictor.load(tmp_path / "a.tar.gz")


def test_a_push_that_fails_leaves_nothing(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("eulernet.runs.predictor.card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Predictor.load(trained.run).push(tmp_path / "pushed")
    assert list(tmp_path.iterdir()) == []
