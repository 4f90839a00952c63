"""RecBole's own reading of Criteo for a context-aware model, run inside its environment by bench_peers.py.

python recbole_prepare.py convert RAW OUT    the atomic file: the raw text below a line of typed names
python recbole_prepare.py build IN OUT       its Dataset (remap, fill, log discretization) and its split dataloaders

RecBole has no threshold for rare values of a field, so it keeps every one.
"""

import json
import shutil
import sys
from pathlib import Path

NUMBERS = [f"I{i}" for i in range(1, 14)]
CATEGORIES = [f"C{i}" for i in range(1, 27)]


def convert(raw: Path, out: Path) -> None:
    names = ["label:float", *(f"{name}:float" for name in NUMBERS), *(f"{name}:token" for name in CATEGORIES)]
    (out / "criteo").mkdir()
    with raw.open("rb") as text, (out / "criteo" / "criteo.inter").open("wb") as atomic:
        atomic.write(("\t".join(names) + "\n").encode())
        shutil.copyfileobj(text, atomic, 1 << 20)


def build(source: Path, out: Path) -> None:
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import init_seed

    sys.argv = sys.argv[:1]  # Config reads the command line
    settings = {
        "data_path": str(source),
        "checkpoint_dir": str(out),
        "save_dataloaders": True,
        "use_gpu": False,
        "USER_ID_FIELD": None,
        "ITEM_ID_FIELD": None,
        "load_col": {"inter": ["label", *NUMBERS, *CATEGORIES]},
        "numerical_features": NUMBERS,
        "discretization": {name: {"method": "LD"} for name in NUMBERS},
        "train_neg_sample_args": None,
        "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": None, "order": "RO", "mode": "labeled"},
        "metrics": ["AUC", "LogLoss"],
        "valid_metric": "AUC",
    }
    config = Config(model="EulerNet", dataset="criteo", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    data_preparation(config, dataset)
    print(json.dumps({"ids": sum(dataset.num(name) for name in [*NUMBERS, *CATEGORIES])}))


if __name__ == "__main__":
    {"convert": convert, "build": build}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
