"""Gradient-boosted trees by LightGBM (Ke et al., "LightGBM", NeurIPS 2017); kept and scored as tensors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require, require_count
from eulernet.features import Bag, FieldSize, Number
from eulernet.models.reference import Reference, Rows, library

TOGETHER = 64  # trees that a batch walks down at a time


class BoostedTrees(Reference):
    """logit = the sum over all trees of the value of the leaf that a row ends in.

    Ids are categories: a node asks whether the id is one of a set. Numbers are numbers: a node asks whether it is at
    most a threshold. Trees are added, at most ``num_iterations``, until ``early_stopping_round`` of them brought no
    better validation AUC. The settings are LightGBM's, under its names. UserError for a field that is a bag.

    Node i has ``left[i]`` and ``right[i]``: another node, or the leaf -1 - value; both come after i.
    """

    elastic = ("root", "column", "threshold", "left", "right", "first_word", "words", "sets", "leaf")
    is_number: Tensor
    root: Tensor
    column: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    first_word: Tensor
    words: Tensor
    sets: Tensor

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        num_iterations: int,
        learning_rate: float,
        num_leaves: int,
        min_data_in_leaf: int,
        feature_fraction: float,
        lambda_l2: float,
        cat_smooth: float,
        early_stopping_round: int,
    ) -> None:
        super().__init__()
        bags = [f for f, size in enumerate(field_sizes) if isinstance(size, Bag)]
        which = f"leave out these {len(bags)} columns, dataset.ignore=[NAME]"
        require(not bags, f"lightgbm takes no bags and no histories: {which}")
        for key, value in (("num_iterations", num_iterations), ("early_stopping_round", early_stopping_round)):
            require_count(value, key)
        require(num_leaves >= 2, f"model.num_leaves must be at least 2, got {num_leaves}")
        require(learning_rate > 0, f"model.learning_rate must be above 0, got {learning_rate}")
        require(0 < feature_fraction <= 1, f"model.feature_fraction must lie in (0, 1], got {feature_fraction}")
        require(lambda_l2 >= 0 and cat_smooth >= 0, "model.lambda_l2 and model.cat_smooth must not be negative")
        self.parameters_of_lightgbm = {
            "objective": "binary", "metric": ["auc", "binary_logloss"], "first_metric_only": True,
            "num_iterations": num_iterations, "learning_rate": learning_rate,
            "num_leaves": num_leaves, "min_data_in_leaf": min_data_in_leaf, "feature_fraction": feature_fraction,
            "lambda_l2": lambda_l2, "cat_smooth": cat_smooth, "early_stopping_round": early_stopping_round,
            "deterministic": True, "force_row_wise": True, "verbosity": -1,
        }  # fmt: skip
        number = torch.tensor([isinstance(size, Number) for size in field_sizes])
        self.register_buffer("is_number", number, persistent=False)
        self.leaf = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.booster: Any = None  # until this process ends; it scores faster than the tensors
        for name in self.elastic[:-1]:
            kind = torch.float64 if name == "threshold" else torch.int32 if name == "sets" else torch.int64
            self.register_buffer(name, torch.zeros(0, dtype=kind))

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        if self.booster is not None:
            return (
                torch.from_numpy(self.booster.predict(self.values(x).cpu().numpy(), raw_score=True))
                .float()
                .to(x.device)
            )
        x, value = x.int(), self.values(x)
        logits = value.new_zeros(len(x))
        for roots in self.root.split(TOGETHER):
            node = roots.repeat(len(x))  # of each row and tree
            while len(going := (node >= 0).nonzero().squeeze(1)):
                node[going] = self.step(value, x, going // len(roots), node[going])
            logits = logits + self.leaf[-1 - node].view(len(x), -1).sum(1)
        return logits.float()

    def step(
        self, value: Float[Tensor, "B F"], x: Int[Tensor, "B F"], row: Int[Tensor, " n"], node: Int[Tensor, " n"]
    ) -> Int[Tensor, " n"]:
        """The node or leaf to which ``node`` sends the ``row``."""
        column, words = self.column[node], self.words[node]
        known = x[row, column].long()
        word = known >> 5
        inside = (known >= 0) & (word < words)
        bits = self.sets[torch.where(inside, self.first_word[node] + word, 0)]
        in_set = inside & (((bits >> (known & 31)) & 1) == 1)
        goes_left = torch.where(words > 0, in_set, value[row, column] <= self.threshold[node])
        return torch.where(goes_left, self.left[node], self.right[node])

    def values(self, x: Int[Tensor, "B F"]) -> Float[Tensor, "B F"]:
        """What a threshold is compared with: ids as they are, numbers out of their bits."""
        return torch.where(self.is_number, x.int().contiguous().view(torch.float32).double(), x.double())

    def learn(self, train: Rows, valid: Rows) -> float:
        """By ``lightgbm.train``, on as many threads as torch has, to the same bits for the same seed.

        The loss is that of all trees, those after the best one too.
        """
        self.booster = self.boost(library("lightgbm", "lightgbm"), train, valid)
        self.take(self.booster)
        losses = {measured[1]: measured[2] for measured in self.booster.eval_train()}
        return float(losses["binary_logloss"])

    def boost(self, lightgbm: Any, train: Rows, valid: Rows) -> Any:
        """The trained ``lightgbm.Booster``."""
        categories = [f for f, number in enumerate(self.is_number.tolist()) if not number]
        settings = {**self.parameters_of_lightgbm, "seed": self.seed, "num_threads": torch.get_num_threads()}
        (x, y, *weight), (stop_x, stop_y, *stop_weight) = (
            (self.values(x).numpy(), *(part.numpy() for part in rest)) for x, *rest in (train, valid)
        )
        each, stop_each = (part[0] if part else None for part in (weight, stop_weight))
        rows = lightgbm.Dataset(x, y, weight=each, categorical_feature=categories, params=settings)
        stop = rows.create_valid(stop_x, stop_y, weight=stop_each)
        return lightgbm.train(settings, rows, valid_sets=[stop], keep_training_booster=True)

    def take(self, booster: Any) -> None:
        """Keep the trees of a booster up to its best one."""
        found: dict[str, list[Any]] = {name: [] for name in self.elastic}
        trees = booster.dump_model(num_iteration=booster.best_iteration or None)["tree_info"]
        for tree in trees:
            found["root"].append(add(tree["tree_structure"], found))
        device, none = self.leaf.device, {"left": [-1], "right": [-1]}  # what a model of lone leaves has
        for name in self.elastic[:-1]:
            held = found[name] or none.get(name, [0])
            setattr(self, name, torch.tensor(held, dtype=getattr(self, name).dtype, device=device))
        self.leaf = nn.Parameter(torch.tensor(found["leaf"], dtype=torch.float64, device=device))

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take the shapes of what is given, which is checked: a file of weights may come from anywhere."""
        given = {name: state[prefix + name] for name in self.elastic if prefix + name in state}
        for name, value in given.items():
            kept = torch.zeros(value.shape, dtype=getattr(self, name).dtype, device=self.leaf.device)
            setattr(self, name, nn.Parameter(kept) if name == "leaf" else kept)
        super()._load_from_state_dict(state, prefix, *rest)
        if given.keys() == set(self.elastic) and self.leaf.device.type != "meta":
            self.require_trees()

    def require_trees(self) -> None:
        """UserError unless every step from a root leads on to a node or leaf that is there."""
        nodes, own = len(self.left), torch.arange(len(self.left), device=self.left.device)
        shapes = {len(getattr(self, name)) for name in ("column", "threshold", "left", "right", "first_word", "words")}
        fine = shapes == {nodes} and (len(self.sets) > 0 or nodes == 0) and bool((self.root < nodes).all())
        for child in (self.left, self.right):
            fine = fine and bool(((child < 0) | ((child > own) & (child < nodes))).all())
        for leaf in (self.root, self.left, self.right):
            fine = fine and bool((leaf >= -len(self.leaf)).all())
        fine = fine and bool(((self.column >= 0) & (self.column < len(self.is_number))).all())
        fine = fine and bool(((self.words >= 0) & (self.first_word >= 0)).all())
        fine = fine and bool((self.first_word + self.words <= len(self.sets)).all())
        require(fine, "the trees of these weights are damaged; get them again")


def add(node: dict[str, Any], found: dict[str, list[Any]]) -> int:
    """Add a node of LightGBM's dump with all below it to ``found``; its number, of a leaf -1 - that of the leaf."""
    if "split_feature" not in node:
        found["leaf"].append(node["leaf_value"])
        return -len(found["leaf"])
    place, members = len(found["left"]), []
    if node["decision_type"] == "==":
        members = [int(member) for member in str(node["threshold"]).split("||")]
    words = np.zeros(max(members, default=-32) // 32 + 1, dtype=np.uint32)
    for member in members:
        words[member >> 5] |= np.uint32(1 << (member & 31))
    found["column"].append(node["split_feature"])
    found["threshold"].append(0.0 if members else node["threshold"])
    found["first_word"].append(len(found["sets"]))
    found["words"].append(len(words))
    found["sets"] += words.view(np.int32).tolist()
    found["left"].append(0)
    found["right"].append(0)
    found["left"][place] = add(node["left_child"], found)
    found["right"][place] = add(node["right_child"], found)
    return place
