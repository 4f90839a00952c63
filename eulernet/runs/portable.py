"""The portable form of a trained run: one folder, or one archive, that is enough to score rows elsewhere.

manifest.json      the version of this form, and the checksums of the files that a prediction depends on
config.json        the model, its hyperparameters and how it was trained
model.safetensors  the best weights
preprocessor/      meta.json and vocab/: what turns raw rows into ids
report.json        what training and evaluation found
README.md          the model card
"""

import gzip
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eulernet.errors import UserError, require

ARCHIVES = (".tar", ".tar.gz", ".tgz")
PARTS = re.compile(
    r"manifest\.json|config\.(json|yaml)|model\.safetensors|report\.json|evaluation\.json|README\.md"
    r"|preprocessor/meta\.json|preprocessor/vocab/[^/]+\.parquet"
)


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ARCHIVES)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The folder that ``path`` is, or one with the contents of the archive that it is, for as long as the block runs.

    An archive is written to disk member by member: only plain files with the names that a predictor has, of what it
    may hold in all no more than the disk has free. UserError for anything else in it.
    """
    if path.is_dir():
        yield path
        return
    require(path.is_file(), f"{path}: no such folder or archive; give the folder of a finished run")
    require(is_archive(path), f"{path}: give the folder of a run, or an archive that ends in {', '.join(ARCHIVES)}")
    with tempfile.TemporaryDirectory(prefix="eulernet-") as name:
        folder = Path(name)
        try:
            with tarfile.open(path) as archive:
                room = shutil.disk_usage(folder).free
                for member in archive:
                    if member.isdir():
                        continue
                    inside = re.sub(r"^(\./)?", "", member.name)
                    known = member.isfile() and PARTS.fullmatch(inside) is not None
                    require(known, f"{path} holds {member.name!r}, which is no part of a predictor; it is refused")
                    room -= member.size
                    require(room > 0, f"{path} holds more than the disk of {folder} has room for")
                    target, source = folder / inside, archive.extractfile(member)
                    assert source is not None
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with target.open("xb") as stream:
                        shutil.copyfileobj(source, stream)
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, FileExistsError) as error:
            raise UserError(f"{path} is truncated or damaged ({error}); get it again") from None
        yield folder


@contextmanager
def packing(path: Path) -> Iterator[Path]:
    """An empty folder that becomes ``path``, a folder or an archive, when the block ends without an error."""
    require(not path.exists(), f"{path} is there already; remove it, or give another path")
    require(path.absolute().parent.is_dir(), f"{path}: there is no folder {path.absolute().parent}")
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.absolute().parent) as name:
        folder = Path(name) / "predictor"
        folder.mkdir()
        yield folder
        if not is_archive(path):
            folder.rename(path)
            return
        packed = Path(name) / path.name
        with tarfile.open(packed, "w" if path.name.lower().endswith(".tar") else "w:gz") as archive:
            for file in sorted(file for file in folder.rglob("*") if file.is_file()):
                archive.add(file, file.relative_to(folder).as_posix(), filter=anonymous)
        os.replace(packed, path)  # noqa: PTH105


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Who packed it, and when, is nobody's business, and would make equal predictors unequal."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


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
{measured(report)}
## Intended use

Ranking and click probabilities for rows that come from where the training rows came from. Values that training did not
know, or knew too rarely, share one id a field; a missing value is treated as training treated it.

## Limits

* The probabilities are those of the training data's click rate: a sample with other clicks, or another time, is not
  calibrated. `python -m eulernet.evaluate run=PATH input=labelled.csv` measures it.
* Clicks say what people were shown as much as what they like; nothing here corrects for that, or for groups of people
  that the data treats unequally.
"""


def measured(report: Mapping[str, Any] | None) -> str:
    """The section of the card on what training and evaluation found."""
    if report is None:
        return ""
    lines = [
        f"* {part}: AUC {report[part]['auc']:.6f}, logloss {report[part]['logloss']:.6f}" for part in ("valid", "test")
    ]
    for what, found in (report.get("evaluation") or {}).items():
        for name, value in found["metrics"].items():
            if value["value"] is not None:
                interval = f" (95 %: {value['low']:.6f} to {value['high']:.6f})" if value.get("low") is not None else ""
                lines.append(f"* {what}, {name.replace('_', ' ')}: {value['value']:.6f}{interval}")
    trained = f"Seed {report['seed']}, best of {report['epochs']} epochs by validation AUC: {report['best_epoch']}."
    return "\n## Metrics\n\n" + "\n".join(lines) + f"\n\n{trained} Nothing was chosen on the test split.\n"
