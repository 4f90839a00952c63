"""A folder that somebody else made, given as resume=."""

from pathlib import Path

import pytest

from eulernet.cli.resume import saved_config
from eulernet.errors import UserError
from eulernet.runs.manifest import check_manifest
from eulernet.settings import read_config

SYNTHETIC = ("dataset=synthetic", "dataset.rows=500", "device=cpu", "model.embedding_dim=4", "train.max_epochs=1")


@pytest.fixture
def started(run_command):
    assert run_command("train", *SYNTHETIC, "hydra.run.dir=run").code == 0
    return Path("run/config.yaml")


def test_no_interpolation_of_a_foreign_configuration_is_resolved(run_command, started, monkeypatch):
    monkeypatch.setenv("SECRET", "hidden-value")
    plain = started.read_text()
    for key, old in (("accept_terms", "false"), ("data_dir", "data"), ("logger", "null")):
        started.write_text(plain.replace(f"\n{key}: {old}\n", f"\n{key}: ${{oc.env:SECRET}}\n"))
        assert read_config(started)[key] == "${oc.env:SECRET}"
        ended = run_command("train", "resume=run")
        assert "hidden-value" not in ended.out + ended.err
        for file in Path("run").rglob("*"):
            assert not file.is_file() or b"hidden-value" not in file.read_bytes()


def test_a_foreign_configuration_that_is_none_is_one_line(run_command, started):
    for text, said in [
        ("a: &a [1]\n" + "\n".join(f"b{i}: [*a, *a]" for i in range(9)), "it has aliases"),
        ("a: " + "x" * (1 << 20), "at most 1 MiB"),
        ("a: 1", "its keys are not"),
    ]:
        started.write_text(text)
        ended = run_command("train", "resume=run")
        assert ended.code == 1
        assert ended.err.count("\n") <= 1
        assert said in ended.err
        assert ended.err.startswith("error: resume=run: no readable config.yaml there (")


def test_a_folder_that_is_not_there_is_one_short_line(tmp_path):
    missing = tmp_path / "nowhere"
    with pytest.raises(UserError) as refused:
        saved_config({"resume": str(missing)}, [], ("resume",), missing)
    assert str(refused.value) == f"resume={missing}: no such folder; give that of a run or a search that was started"
    with pytest.raises(UserError) as refused:
        check_manifest(missing)
    assert str(refused.value) == f"{missing}: no such folder; give the folder of a finished run"
