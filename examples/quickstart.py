"""From a frame to a model, its figures and its probabilities: python examples/quickstart.py"""

import numpy as np
import pandas as pd

import eulernet


def a_log(rows: int) -> pd.DataFrame:
    """A made-up log: who saw which item, at what price, on what device, and clicked or not."""
    draw = np.random.default_rng(0)
    user, item, price = draw.integers(0, 200, rows), draw.integers(0, 100, rows), draw.gamma(2.0, 10.0, rows).round(2)
    device = draw.choice(["phone", "desktop", "tablet"], rows)
    taste, kind = draw.normal(size=(200, 4)), draw.normal(size=(100, 4))
    logit = (taste[user] * kind[item]).sum(1) - 0.05 * price + (device == "phone")
    click = draw.random(rows) < 1 / (1 + np.exp(-logit))
    names = {"user": user.astype(str), "item": item.astype(str), "price": price, "device": device}
    return pd.DataFrame({**names, "click": click.astype(int)})


log = a_log(20_000)
run = eulernet.fit(log, label="click", model="eulernet", seed=1)

print(run.report["test"])
print(run.predict_proba(log.head(3))[:, 1])
