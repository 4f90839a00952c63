"""How to train, as plain numbers."""

from dataclasses import dataclass

from eulernet.errors import choose, require
from eulernet.training.compiling import COMPILE
from eulernet.training.history import MONITORS
from eulernet.training.optimizers import OptimizerConfig
from eulernet.training.precision import PRECISIONS
from eulernet.training.tables import LAYOUTS

SHUFFLES = {"full": None, "blocks": None, "auto": None}


@dataclass(frozen=True)
class TrainConfig(OptimizerConfig):
    """How to train; ``conf/train/`` has the values and says what each is for. UserError for impossible ones."""

    max_epochs: int
    batch_size: int
    eval_batch_size: int
    clip_norm: float | None
    patience: int
    lr_factor: float
    lr_patience: int
    min_lr: float
    ema: float
    reshuffle: bool
    shuffle_seed: int
    precision: str
    compile: str  # false, true or auto
    embedding: str
    checkpoint_every: int | None
    # Runs of an older eulernet lack these.
    monitor: str = "auc"
    keep_checkpoints: int = 2
    rank_timeout: float = 600.0
    shuffle: str = "full"
    shuffle_window: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_epochs", "batch_size", "eval_batch_size", "patience", "lr_patience", "keep_checkpoints"):
            require(getattr(self, name) >= 1, f"train.{name} must be at least 1, got {getattr(self, name)}")
        for name, limit in (("batch_size", 2**40), ("eval_batch_size", 2**40), ("shuffle_seed", 2**62)):
            require(getattr(self, name) < limit, f"train.{name} is too large: {getattr(self, name)}")
        for name in ("min_lr", "shuffle_seed"):
            require(getattr(self, name) >= 0, f"train.{name} must not be negative, got {getattr(self, name)}")
        require(0 < self.lr_factor <= 1, f"train.lr_factor must lie in (0, 1], got {self.lr_factor}")
        require(0 <= self.ema < 1, f"train.ema must lie in [0, 1), got {self.ema}")
        choose(MONITORS, self.monitor, "train.monitor")
        choose(PRECISIONS, self.precision, "train.precision")
        object.__setattr__(self, "compile", str(self.compile).lower())  # YAML makes booleans of two of them
        choose(COMPILE, self.compile, "train.compile")
        choose(SHUFFLES, self.shuffle, "train.shuffle")
        window = self.shuffle_window
        fits = 0 < window <= 1 or (1 < window < 2**40 and window == int(window))
        require(fits, f"train.shuffle_window must be a share of the rows, at most 1, or a number of rows, got {window}")
        if choose(LAYOUTS, self.embedding, "train.embedding"):
            require(self.precision != "fp16", "train.embedding=sharded cannot do train.precision=fp16; take bf16")
        require(0 < self.rank_timeout < 1e7, f"train.rank_timeout must be positive seconds, got {self.rank_timeout}")
        norm, every = self.clip_norm, self.checkpoint_every
        require(norm is None or norm > 0, f"train.clip_norm must be positive or null, got {norm}")
        require(every is None or every >= 1, f"train.checkpoint_every must be at least 1, or null, got {every}")
