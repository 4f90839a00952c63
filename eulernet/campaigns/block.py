"""One dataset's part of a table: its settings, what others published, and the best setting against the second."""

import statistics as means
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eulernet.measures.statistics import Comparison
from eulernet.reporting.compare import StoreScores, order, over_rows_test, over_seeds_test, scored_pairs
from eulernet.runs.groups import Setting


@dataclass(frozen=True)
class Published:
    """What others published for a setting, a value a seed; None where nobody has copied it from the source."""

    setting: str | None
    name: str
    source: str
    auc: Sequence[float] | None
    logloss: Sequence[float] | None


@dataclass(frozen=True)
class Block:
    """One dataset's part of a table: the settings that have runs, and the published figures that belong to it."""

    dataset: str
    settings: Sequence[Setting]
    published: Sequence[Published]
    scores: StoreScores | None = None

    @property
    def comparable(self) -> bool:
        """Whether all runs are of the same prepared data."""
        return len({run.store for setting in self.settings for run in setting.runs}) <= 1

    def ranks(self, metric: str) -> dict[str, int]:
        """The place of each setting, from 0, by its mean over seeds; settings with the same runs share one.

        Empty where the data were not the same.
        """
        places: dict[str, int] = {}
        if not self.comparable:
            return places
        of_runs: dict[tuple[Path, ...], int] = {}
        for i in order(self.settings, metric):
            runs = tuple(run.folder for run in self.settings[i].runs)
            places[self.settings[i].name] = of_runs.setdefault(runs, len(of_runs))
        return places

    def of(self, setting: str) -> Published | None:
        return next((entry for entry in self.published if entry.setting == setting), None)

    def verdict(self) -> "Verdict | None":
        """The best setting by mean test AUC against the second; None where there are not two of the same rows."""
        places = self.ranks("auc")
        first, second = (next((s for s in self.settings if places.get(s.name) == place), None) for place in (0, 1))
        if first is None or second is None:
            return None
        scored = len(scored_pairs(first, second, self.scores))
        over_rows = over_rows_test(first, second, self.scores)
        return Verdict(first, second, over_seeds_test(first, second), over_rows, scored)


@dataclass(frozen=True)
class Verdict:
    """The best setting, the second, and whether chance may have ordered them: tested over seeds, and over rows too."""

    best: Setting
    second: Setting
    over_seeds: Comparison | None
    over_rows: Comparison | None
    scored: int  # seeds whose scores ``over_rows`` rests on

    @property
    def improvement(self) -> float | None:
        """Relative: of the part of the AUC above 1/2, which a coin reaches (RelaImpr; Yan et al., ICML 2014).

        None where the second has no such part.
        """
        first, second = (means.mean(setting.values("test", "auc")) for setting in (self.best, self.second))
        return (first - 0.5) / (second - 0.5) - 1 if second > 0.5 else None

    def text(self) -> str:
        first, second = (means.mean(setting.values("test", "auc")) for setting in (self.best, self.second))
        rows = "rows, one seed" if self.scored == 1 else "seeds and rows"
        improved = "" if self.improvement is None else f", {self.improvement:+.3%} of what lies above 1/2 (RelaImpr)"
        tests = ((self.over_seeds, "seeds (paired t-test)"), (self.over_rows, f"{rows} (DeLong)"))
        found = [f"{p_text(test.p)} over {what}" for test, what in tests if test is not None]
        said = ", ".join(found) or "not tested: it takes two seeds, or the scores of the test rows"
        if self.over_seeds is not None and self.over_rows is None:
            said += ", not tested over rows, which takes the weights of both"
        return f"{self.best.name} against {self.second.name}, the second: AUC {first - second:+.5f}{improved}; {said}."


def p_text(p: float) -> str:
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".")


def read_published(entries: Sequence[Mapping[str, Any]]) -> list[Published]:
    """The entries of one dataset in ``results/published.yaml``."""
    return [Published(**{"setting": None, **entry}) for entry in entries]
