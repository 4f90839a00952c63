"""The section on what the fields are worth: AUC and logloss with the values of a field shuffled."""

from eulernet.errors import UserError
from eulernet.reporting.charts import intervals
from eulernet.reporting.html import Html, scroll, tag
from eulernet.reporting.page import figure, section, table
from eulernet.runs.importance import importance as measured
from eulernet.runs.run import Run, Scores

REPEATS = 3


def importance(run: Run, scored: Scores, rows: int) -> Html:
    """The fields by what they are worth to the model, on at most ``rows`` test rows; empty where there are none."""
    columns = scored.x, scored.labels, scored.weights, scored.places
    try:
        found = measured(run, scored.score, *columns, most=rows, repeats=REPEATS, seed=0)
    except UserError:  # of one class, or next to it
        return Html()
    fields = sorted(found["fields"].items(), key=lambda item: item[1]["auc"]["value"])
    ends = [(name, one["auc"]) for name, one in fields]
    shown = [(name, f"{-of['value']:.4f}", [-v for v in of["each"]], -of["high"], -of["low"]) for name, of in ends]
    top = max(0.001, *(high for *_, high in shown))
    drawn = intervals(
        "AUC lost", shown, (min(0.0, *(low for *_, low, _ in shown)), top), 0.0, x_name="AUC lost", names=16
    )
    about = (
        f"What is lost when the values of one field are shuffled among {found['rows']:,} test rows (AUC "
        f"{found['auc']:.4f}, logloss {found['logloss']:.4f}), {REPEATS} times with fixed seeds: "
        f"{1 + len(fields) * REPEATS} scorings of these rows. Fields that say the same share their worth."
    )
    reading = "A dot is one permutation, the number their mean; bars are 95 % intervals over rows and permutations."
    ordered = any("order" in one for _, one in fields)
    heads = ("field", "AUC lost", "logloss gained", *(["mean |order|"] if ordered else []))
    lines = [
        (name, f"{-one['auc']['value']:.5f}", f"{one['logloss']['value']:.5f}")
        + ((f"{one['order']:.3f}",) if ordered else ())
        for name, one in fields
    ]
    words = "Of EulerNet's orders those of the first layer." if ordered else "From the field that is worth most down."
    return section(
        "What the fields are worth",
        about,
        figure("Permutation importance", reading, drawn, wide=True),
        tag(
            "details",
            tag("summary", "As a table"),
            figure("Worth", words, scroll("Worth", table(heads, lines, wide=True))),
        ),
    )
