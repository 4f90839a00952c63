"""python -m eulernet.predict: click probabilities of raw rows in files of any size."""

from omegaconf import DictConfig

from eulernet.cli import command, to_plain
from eulernet.runs.predict import predict


@command("predict")
def main(cfg: DictConfig) -> None:
    """Score the rows of ``input`` by the run ``run``, and say how many and how fast."""
    predict(to_plain(cfg))


if __name__ == "__main__":
    main()
