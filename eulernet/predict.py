"""python -m eulernet.predict: click probabilities of raw rows in files of any size."""

from typing import Any

from eulernet.cli import command


@command("predict")
def main(given: dict[str, Any]) -> None:
    """Score the rows of ``input`` by the run ``run``, and say how many and how fast."""
    from eulernet.runs.predict import predict

    predict(given)


if __name__ == "__main__":
    main()
