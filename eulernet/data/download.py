"""Fetch raw files that may be fetched: checksummed, with progress, whole or not at all."""

import hashlib
import logging
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eulernet.data.disk import writing
from eulernet.errors import UserError

log = logging.getLogger(__name__)

TIMEOUT = 20  # seconds without an answer before a source counts as out of reach


class Unavailable(Exception):
    """A source cannot be reached, or gives something else than it should; the message says which and why."""


@dataclass(frozen=True)
class Archive:
    """A file from its publisher: a zip whose ``members`` are wanted, or one that is kept as it is, without members."""

    url: str
    checksum: str  # "md5:..." or "sha256:...", as pooch takes it
    members: Sequence[str]
    name: str

    def download(self, folder: Path) -> Path:
        import pooch  # a tenth of a second, which nobody waits for who has the file
        import requests

        try:
            log.info("downloading %s", self.url)
            pooch.get_logger().setLevel("WARNING")  # it would also name the temporary file
            file = pooch.retrieve(
                self.url,
                known_hash=self.checksum,
                path=folder,
                downloader=pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT),
            )
        except requests.RequestException as error:
            reason = "no connection" if isinstance(error, requests.ConnectionError) else str(error)
            raise Unavailable(f"cannot download {self.url} ({reason})") from None
        except ValueError:
            raise Unavailable(f"{self.url} does not have the published checksum {self.checksum}") from None
        return Path(file)


@dataclass(frozen=True)
class Wheel:
    """A PyPI wheel that carries a copy of the data: downloaded with pip, unzipped, never installed."""

    requirement: str
    sha256: str
    members: Sequence[str]

    @property
    def name(self) -> str:
        return f"PyPI wheel {self.requirement}"

    def download(self, folder: Path) -> Path:
        log.info("downloading %s", self.name)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        fetch = ["download", "--no-deps", "--only-binary=:all:", f"--timeout={TIMEOUT}", "--retries=1"]
        done = subprocess.run([*pip, *fetch, "--dest", folder, self.requirement], capture_output=True, text=True)
        wheels = list(folder.glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            why = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise Unavailable(f"cannot download {self.name} ({why.removeprefix('ERROR: ')})")
        if hashlib.sha256(wheels[0].read_bytes()).hexdigest() != self.sha256:
            raise Unavailable(f"{self.name} does not have the published checksum sha256:{self.sha256}")
        return wheels[0]


ML_1M = Archive(
    "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
    "sha256:a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    ("ml-1m/ratings.dat", "ml-1m/users.dat", "ml-1m/movies.dat"),
    "GroupLens",
)
ML_100K = Archive(
    "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
    "md5:0e33842e24a9c977be4e0107933c0723",
    ("ml-100k/u.data", "ml-100k/u.user", "ml-100k/u.item"),
    "GroupLens",
)
ML_100K_IN_RECBOLE = Wheel(
    "recbole==1.2.1",
    "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    tuple(f"recbole/dataset_example/ml-100k/ml-100k.{kind}" for kind in ("inter", "user", "item")),
)
CRITEO = Archive(
    "https://go.criteo.net/criteo-research-kaggle-display-advertising-challenge-dataset.tar.gz",
    "md5:df9b1b3766d9ff91d5ca3eb3d23bed27",
    (),
    "Criteo",
)


def fetch(sources: Sequence[Archive | Wheel], folder: Path, check: Callable[[Path], None] = lambda folder: None) -> str:
    """Fill ``folder`` with raw files from the first source that answers, unless it is there; return the source's name.

    ``check`` looks at the new folder and raises UserError if it does not hold what it should; then nothing is kept.
    Raises UserError, with every source's reason, when none can be reached.
    """
    note = folder / "SOURCE"
    if folder.is_dir():  # filled by an earlier call, or by hand
        return note.read_text().strip() if note.is_file() else "raw folder"
    reasons = []
    for source in sources:
        try:
            with writing(folder, mark=note.name) as new:
                archive = source.download(new)
                if source.members:
                    with zipfile.ZipFile(archive) as files:
                        for member in source.members:
                            (new / Path(member).name).write_bytes(files.read(member))
                    archive.unlink()
                check(new)
                (new / note.name).write_text(source.name + "\n")
        except Unavailable as error:
            reasons.append(str(error))
        else:
            log.info("downloaded %s from %s", folder, source.name)
            return source.name
    raise UserError(f"{'; '.join(reasons)}; get the files elsewhere and give their folder: raw=PATH")
