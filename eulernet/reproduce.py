"""python -m eulernet.reproduce: a table of conf/table, from the question to the evidence.

What is missing is trained; a finished run is known by its configuration and never repeated.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from eulernet.cli import command, group_files
from eulernet.cli.composing import compose, compose_with_seeds
from eulernet.cli.folders import discard_unless_started
from eulernet.errors import UserError
from eulernet.settings import conf_dir


@command("reproduce")
def main(given: dict[str, Any]) -> None:
    """Train what is missing, and write the table."""
    from eulernet.campaigns.planned import Conf
    from eulernet.campaigns.reproducing import reproduce

    out, table = Path(HydraConfig.get().runtime.output_dir), HydraConfig.get().runtime.choices["table"]
    places = [conf_dir() / "published.yaml", conf_dir().parent / "results" / "published.yaml"]  # of a wheel, a checkout
    try:
        published = next((file for file in places if file.is_file()), None)
        reproduce(given, table, Conf(composed, group_files, space), published)
    finally:
        if not any(path.is_dir() for path in out.iterdir()):  # no run, no table
            discard_unless_started(out, "last.ckpt")


def composed(overrides: Sequence[str], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The configuration of ``eulernet.train`` with these overrides and each seed, as the run's report will have it."""
    try:
        return compose_with_seeds("train", overrides, seeds)
    except UserError as error:
        raise UserError(f"eulernet.train cannot take {' '.join(overrides)}: {error}") from None


def space(name: str) -> Mapping[str, Any]:
    """The content of conf/sweep/``name``.yaml, with what it takes from other files."""
    return compose("tune", [f"sweep={name}"])["sweep"]


if __name__ == "__main__":
    main()
