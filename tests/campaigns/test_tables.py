"""The tables say what the reports say: means, places, and the best against the second."""

import csv
import io
import re

import numpy as np
import pytest
from scipy.stats import ttest_rel

from eulernet.campaigns.block import Block, read_published
from eulernet.campaigns.formats import escape, latex, long_csv, markdown
from eulernet.measures.statistics import delong_over_seeds
from eulernet.reporting.compare import StoreScores
from eulernet.runs.groups import Setting
from eulernet.runs.run import Run

AUC = {"weak": (0.60, 0.62, 0.61), "good": (0.71, 0.70, 0.72), "near": (0.70, 0.69, 0.715)}


def setting(name, tmp_path, parameters=10, digest="0"):
    runs = []
    for seed, auc in enumerate(AUC[name]):
        report = {
            "dataset": {"name": "toy", "digest": digest}, "model": name, "seed": seed, "parameters": parameters,
            "commit": "c", "best_epoch": 1, "epochs": 2, "seconds": 3.0, "samples_per_second": 4.0,
            "peak_memory_bytes": 5, "valid": {"auc": auc - 0.01, "logloss": 0.5},
            "test": {"auc": auc, "logloss": 1 - auc},
        }  # fmt: skip
        runs.append(Run(tmp_path / name / str(seed), report, {}))
    return Setting(name, runs)


@pytest.fixture
def block(tmp_path):
    published = read_published(
        [
            {"setting": "good", "name": "Good, the paper", "source": "Book, p. 3", "auc": [0.7], "logloss": [0.3]},
            {"setting": "weak", "name": "Weak, the paper", "source": "Book, p. 4", "auc": None, "logloss": None},
        ]
    )
    return Block("toy", [setting(name, tmp_path) for name in AUC], published)


def test_best_is_bold_second_underlined_and_published_beside(block):
    lines = {line.split("`")[1]: line for line in markdown(block).splitlines() if line.startswith("| `")}
    assert "**0.71000 ± 0.01000**" in lines["good"]
    assert "**0.29000 ± 0.01000**" in lines["good"]
    assert lines["near"].count("<u>0.70167 ± 0.01258</u>") == 1
    assert "<u>0.29833 ± 0.01258</u>" in lines["near"]
    assert "*" not in lines["weak"]
    assert "<u>" not in lines["weak"]
    assert lines["good"].endswith("| 0.70000, 0.30000 |")
    assert lines["weak"].endswith("| not transcribed |")
    assert "Book, p. 3" in markdown(block)


def test_the_best_is_tested_against_the_second_over_seeds(block):
    verdict = block.verdict()
    assert (verdict.best.name, verdict.second.name) == ("good", "near")
    assert verdict.over_seeds.p == pytest.approx(ttest_rel(AUC["good"], AUC["near"]).pvalue)
    assert verdict.improvement == pytest.approx((0.71 - 0.5) / (np.mean(AUC["near"]) - 0.5) - 1)
    assert verdict.over_rows is None
    assert f"p = {verdict.over_seeds.p:.3f}".replace("0.", ".") in verdict.text()
    assert "not tested over rows" in verdict.text()
    assert "picked by the figures" in markdown(block)  # two of three


def test_the_best_is_tested_against_the_second_over_rows(block):
    draw = np.random.default_rng(0)
    labels = (draw.random(400) < 0.4).astype(int)
    logits = {run.folder: labels + draw.normal(0, 2, 400) for one in block.settings for run in one.runs}
    verdict = Block("toy", block.settings, [], StoreScores(labels, logits)).verdict()
    sides = [np.stack([logits[run.folder] for run in one.runs]) for one in (verdict.best, verdict.second)]
    assert verdict.over_rows == delong_over_seeds(labels, *sides)


def test_a_test_over_the_rows_of_one_seed_says_so_though_the_figures_are_of_several(block):
    draw = np.random.default_rng(0)
    labels = (draw.random(400) < 0.4).astype(int)
    logits = {one.runs[0].folder: labels + draw.normal(0, 2, 400) for one in block.settings}
    verdict = Block("toy", block.settings, [], StoreScores(labels, logits)).verdict()
    assert verdict.over_seeds is not None
    assert "over rows, one seed (DeLong)" in verdict.text()
    assert "not tested" not in verdict.text()


def test_nothing_is_relative_to_what_is_no_better_than_a_coin(block, monkeypatch):
    monkeypatch.setitem(AUC, "weak", (0.4, 0.4, 0.4))
    folder = block.settings[0].runs[0].folder.parents[1]
    two = Block("toy", [setting("weak", folder), setting("good", folder)], [])
    assert two.verdict().improvement is None
    assert "RelaImpr" not in markdown(two)
    assert "picked" not in markdown(two)  # there was no choice
    assert "-" not in long_csv([two]).split("relaimpr")[1].splitlines()[1]


def test_a_setting_under_two_names_is_not_its_own_second(block):
    twin = Setting("same as good", next(one for one in block.settings if one.name == "good").runs)
    both = Block("toy", [*block.settings, twin], [])
    assert both.verdict().second.name == "near"
    assert markdown(both).count("**0.71000 ± 0.01000**") == 2


def test_runs_of_different_data_are_not_ranked(block, tmp_path):
    mixed = Block("toy", [*block.settings[:1], setting("good", tmp_path, digest="1")], [])
    assert mixed.verdict() is None
    for text in (markdown(mixed), latex([mixed])):
        assert "different files" in text
        assert not any(mark in text for mark in ("**", "<u>", "mathbf", "underline"))
    assert {row["place"] for row in csv.DictReader(io.StringIO(long_csv([mixed])))} == {""}


def test_one_setting_of_one_seed_is_a_table_too(block):
    one = Block("toy", [Setting("good", block.settings[1].runs[:1])], [])
    assert one.verdict() is None
    assert "**0.71000**" in markdown(one)
    assert "$\\mathbf{.71000}$" in latex([one])


def test_latex_has_a_row_a_setting_and_two_columns_a_dataset(block):
    other = Block("toy_2", block.settings[:1], [])
    text = latex([block, other])
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert all(line.count("&") in (2, 4) for line in rows)
    assert r"toy\_2" in text
    near = next(line for line in rows if line.startswith("near"))
    assert near.split("&")[1].strip() == r"$\underline{.70167}_{\pm .01258}$"
    assert [cell.strip(" \\") for cell in near.split("&")[3:]] == ["--", "--"]
    assert len(re.findall(r"\\begin|\\end", text)) == 2
    notes = [line for line in text.splitlines() if line.startswith(r"\par\smallskip")]
    assert [note.split()[1] for note in notes] == ["toy:"]  # the other has one setting, and nothing to say of it
    assert "Good, the paper: 0.70000, 0.30000 (Book, p. 3)." in notes[0]
    assert re.search(r"\+\d\.\d+\\% of what", notes[0])


def test_latex_escapes_what_tex_would_read():
    assert escape("a_b 5% <1 ± #&$ {x}^~\\") == (
        r"a\_b 5\% $<$1 $\pm$ \#\&\$ \{x\}\textasciicircum{}\textasciitilde{}\textbackslash{}"
    )


def test_csv_has_every_figure(block):
    rows = {row["setting"]: row for row in csv.DictReader(io.StringIO(long_csv([block])))}
    assert float(rows["near"]["test_auc"]) == pytest.approx(np.mean(AUC["near"]))
    assert float(rows["near"]["test_auc_std"]) == pytest.approx(np.std(AUC["near"], ddof=1))
    assert rows["good"]["seeds"] == "0 1 2"
    assert [rows[name]["place"] for name in AUC] == ["3", "1", "2"]
    assert float(rows["good"]["p_over_seeds_to_second"]) == pytest.approx(ttest_rel(AUC["good"], AUC["near"]).pvalue)
    assert rows["weak"]["p_over_seeds_to_second"] == ""
    assert rows["weak"]["published_auc"] == "not transcribed"
