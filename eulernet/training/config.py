"""How to train, as plain numbers."""

from dataclasses import dataclass
from typing import Any

from eulernet.distributed.data_parallel import LAYOUTS
from eulernet.errors import choose, require
from eulernet.training.optimizers import OPTIMIZERS
from eulernet.training.precision import PRECISIONS


@dataclass(frozen=True)
class TrainConfig:
    """How to train; ``conf/train/`` has the values and says what each is for. UserError for impossible ones."""

    optimizer: str
    max_epochs: int
    batch_size: int
    eval_batch_size: int
    lr: float
    embedding_lr: float | None
    warmup_steps: int
    weight_decay: float
    embedding_l2: float
    net_l2: float
    clip_norm: float | None
    cowclip: float | None
    cowclip_ratio: float
    patience: int
    lr_factor: float
    lr_patience: int
    min_lr: float
    ema: float
    reshuffle: bool
    shuffle_seed: int
    precision: str
    compile: bool
    embedding: str
    checkpoint_every: int | None

    def __post_init__(self) -> None:
        for name in ("max_epochs", "batch_size", "eval_batch_size", "patience", "lr_patience"):
            require(getattr(self, name) >= 1, f"train.{name} must be at least 1, got {getattr(self, name)}")
        for name, limit in (("batch_size", 2**40), ("eval_batch_size", 2**40), ("shuffle_seed", 2**62)):
            require(getattr(self, name) < limit, f"train.{name} is too large: {getattr(self, name)}")
        for name in ("weight_decay", "embedding_l2", "net_l2", "min_lr", "warmup_steps", "shuffle_seed"):
            require(getattr(self, name) >= 0, f"train.{name} must not be negative, got {getattr(self, name)}")
        require(self.lr > 0, f"train.lr must be positive, got {self.lr}")
        require(0 < self.lr_factor <= 1, f"train.lr_factor must lie in (0, 1], got {self.lr_factor}")
        require(0 <= self.ema < 1, f"train.ema must lie in [0, 1), got {self.ema}")
        choose(OPTIMIZERS, self.optimizer, "train.optimizer")
        choose(PRECISIONS, self.precision, "train.precision")
        choose(LAYOUTS, self.embedding, "train.embedding")
        if LAYOUTS[self.embedding]:
            require(
                self.optimizer == "adam",
                f"train.optimizer={self.optimizer} steps rows of whole tables; with train.embedding=sharded take adam",
            )
            require(self.cowclip is None, "train.cowclip reads whole tables; with train.embedding=sharded take null")
            require(self.precision != "fp16", "train.embedding=sharded cannot do train.precision=fp16; take bf16")
        every = self.checkpoint_every
        require(every is None or every >= 1, f"train.checkpoint_every must be at least 1, or null, got {every}")
        require(self.cowclip_ratio > 0, f"train.cowclip_ratio must be positive, got {self.cowclip_ratio}")
        for name in ("embedding_lr", "clip_norm", "cowclip"):
            value = getattr(self, name)
            require(value is None or value > 0, f"train.{name} must be positive or null, got {value}")

    def optimizer_settings(self) -> dict[str, Any]:
        """What ``OPTIMIZERS[optimizer]`` takes."""
        return {
            "lr": self.lr,
            "embedding_lr": self.lr if self.embedding_lr is None else self.embedding_lr,
            "weight_decay": self.weight_decay,
            "embedding_l2": self.embedding_l2,
            "net_l2": self.net_l2,
            "warmup_steps": self.warmup_steps,
            "cowclip": None if self.cowclip is None else (self.cowclip_ratio, self.cowclip),
        }
