"""RecBole's EulerNet trained to the end on the rows of a eulernet store, run inside its environment by time_to_auc.py.

python recbole_fit.py STORE OUT [SETTINGS as JSON]    prints a line of JSON an epoch: valid AUC, wall and CPU seconds

The store's splits become RecBole's atomic files with ids as tokens; everything after that is RecBole's own.
"""

import json
import logging
import sys
import time
from pathlib import Path

import numpy as np


def main() -> None:
    start = time.perf_counter()
    store, out, settings = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    sys.argv = sys.argv[:1]  # Config reads the command line
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.context_aware_recommender import EulerNet
    from recbole.trainer import Trainer
    from recbole.utils import init_seed

    names = write_atomic_files(store, out / "rows")
    logging.disable()
    files_written = time.process_time()  # the raw rows would have been in RecBole's form already
    config = Config(
        model="EulerNet",
        dataset="rows",
        config_dict={
            **settings,
            "data_path": str(out),
            "checkpoint_dir": str(out),
            "benchmark_filename": ["train", "valid", "test"],
            "use_gpu": False,
            "USER_ID_FIELD": None,
            "ITEM_ID_FIELD": None,
            "LABEL_FIELD": "label",
            "load_col": {"inter": ["label", *names]},
            "numerical_features": [],
            "train_neg_sample_args": None,
            "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": None, "order": "RO", "mode": "labeled"},
            "metrics": ["AUC", "LogLoss"],
            "valid_metric": "AUC",
        },
    )
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train, valid, _ = data_preparation(config, dataset)
    model = EulerNet(config, train.dataset)

    def tell(epoch: int, auc: float) -> None:
        seconds, cpu = time.perf_counter() - start, time.process_time() - files_written
        print(json.dumps({"epoch": epoch + 1, "auc": float(auc), "seconds": seconds, "cpu_seconds": cpu}), flush=True)

    Trainer(config, model).fit(train, valid, verbose=False, show_progress=False, callback_fn=tell)


def write_atomic_files(store: Path, folder: Path) -> list[str]:
    meta = json.loads((store / "meta.json").read_text())
    x, y = np.load(store / "x.npy"), np.load(store / "y.npy")
    names = [f"f{f}" for f in range(x.shape[1])]
    folder.mkdir(parents=True)
    for part, where in meta["split"].items():
        rows = np.load(store / where) if isinstance(where, str) else slice(*where)
        table = np.column_stack([y[rows], x[rows]])
        header = "\t".join(["label:float", *(f"{name}:token" for name in names)])
        np.savetxt(folder / f"rows.{part}.inter", table, fmt="%d", delimiter="\t", header=header, comments="")
    return names


if __name__ == "__main__":
    main()
