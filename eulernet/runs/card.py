"""README.md of a packed run: its model card."""

from collections.abc import Mapping
from typing import Any

from eulernet.measures.table import MEASURES
from eulernet.training.history import monitor_of


def card(config: Mapping[str, Any], meta: Mapping[str, Any], report: Mapping[str, Any] | None) -> str:
    """README.md: what the model is, what it was trained on, how well it does, what it is for, and what it is not."""
    name, dataset = config["model"]["name"], meta["name"]
    parts, clicks = meta["rows_in"], meta["clicks"]
    rows = ", ".join(f"{part} {parts[part]:,} ({clicks[part] / parts[part]:.2%} clicks)" for part in parts)
    settings = "\n".join(f"* `{key}`: {value}" for key, value in config["model"].items() if key != "name")
    columns = ", ".join(f"`{column}`" for column in dict.fromkeys(field["column"] for field in meta["fields"]))
    return f"""---
library_name: eulernet
tags: [click-through-rate-prediction, recommender-systems, {name}]
---

# {name} on {dataset}

A click model of [eulernet](https://pypi.org/project/eulernet/): the probability that a row of raw values is a click.

```python
from eulernet import Predictor

predictor = Predictor.load("PATH")  # this folder, or the archive that holds it
predictor.fields  # the raw columns of a row
predictor.predict(rows)  # a pandas or polars frame, a list of dictionaries, or the path of a CSV or Parquet file
```

## Data

* Dataset: {dataset}; rows: {rows}
* Protocol: {meta["protocol"]}
* Raw columns: {columns}

## Model

{settings}
{measured(config, report)}{ancestry(report)}
## Intended use

Ranking and click probabilities for rows that come from where the training rows came from. Values that training did not
know, or knew too rarely, share one id a field; a missing value is treated as training treated it.

## Limits

* The probabilities are those of the training data's click rate: a sample with other clicks, or another time, is not
  calibrated. `python -m eulernet.evaluate run=PATH input=labelled.csv` measures it.
* Clicks say what people were shown as much as what they like; nothing here corrects for that, or for groups of people
  that the data treats unequally.
"""


def ancestry(report: Mapping[str, Any] | None) -> str:
    """The section of the card on the runs that this one goes on from, the first of all first."""
    if not (chain := (report or {}).get("ancestry")):
        return ""
    lines = [f"* rows {one['store']} ({one['rows']:,} of training), weights {one['weights'][:16]}" for one in chain]
    about = (
        "Training went on from the weights of earlier runs, and so from what their rows taught; the first run first:"
    )
    return "\n## Ancestry\n\n" + about + "\n\n" + "\n".join(lines) + "\n"


def measured(config: Mapping[str, Any], report: Mapping[str, Any] | None) -> str:
    """The section of the card on what training and evaluation found."""
    if report is None:
        return ""
    lines = []
    for part in ("valid", "test"):
        known = [measure for measure in MEASURES if measure.name in report[part]]
        if known:  # there may be no test split
            lines.append(f"* {part}: " + ", ".join(f"{one.title} {report[part][one.name]:.6f}" for one in known))
    for what, found in (report.get("evaluation") or {}).items():
        for name, value in found["metrics"].items():
            if value["value"] is not None:
                interval = f" (95 %: {value['low']:.6f} to {value['high']:.6f})" if value.get("low") is not None else ""
                lines.append(f"* {what}, {name.replace('_', ' ')}: {value['value']:.6f}{interval}")
    by = monitor_of(config).replace("auc", "AUC")
    trained = f"Seed {report['seed']}, best of {report['epochs']} epochs by validation {by}: {report['best_epoch']}."
    return "\n## Metrics\n\n" + "\n".join(lines) + f"\n\n{trained} Nothing was chosen on the test split.\n"
