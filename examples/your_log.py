"""Train on a log of your own and keep the run: python examples/your_log.py clicks.csv click runs/mine

The folder goes to eulernet serve, export, report and predict, and to eulernet.load.
"""

import sys

import eulernet

file, label, folder = sys.argv[1:]
run = eulernet.fit(
    file,
    label=label,
    model={"name": "eulernet", "embedding_dim": 8},
    train={"max_epochs": 10},
    seed=1,
)
run.save(folder)

again = eulernet.load(folder)
print(again.history[["valid_auc", "valid_logloss"]].to_string())
print(f"test AUC {again.report['test']['auc']:.4f}, kept in {folder}: eulernet report run={folder}")
