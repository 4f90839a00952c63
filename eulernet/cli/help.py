"""What --help shows: every setting of a command, its value, and the comment that stands beside it in ``conf``."""

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import OmegaConf

from eulernet.cli.comments import comments_of, read_comments
from eulernet.cli.keys import GROUPS, config_folders, group_files, searching_conf
from eulernet.cli.screen import colours
from eulernet.cli.words import readable, with_names
from eulernet.settings import conf_dir

COLUMN, WIDEST, LONG = 32, 110, 64  # where comments begin, where lines end at the latest; characters of a value
HIDDEN = ("hydra", "chosen", "name")  # not for users: Hydra's, what tune notes, the class behind a group's file
DIR = "hydra.run.dir"  # the one of Hydra's keys that users set
RANGE = {"low", "high", "log", "choices"}  # the keys of a range in conf/sweep
OPTIONS = """\
  -m, --multirun      run all combinations of key=a,b and 'key=range(1,4)'
  --cfg job           show the whole configuration and stop
  --config-dir PATH   files of your own: PATH/dataset/mine.yaml is dataset=mine
  --hydra-help        what else Hydra takes"""


@dataclass(frozen=True)
class Entry:
    """A setting: its dotted key, its value in this configuration, and its comment, "" if there is none."""

    key: str
    value: Any
    comment: str


@dataclass(frozen=True)
class Manual:
    """The chosen file of each group with those to choose from, and the settings by the titles that they stand under."""

    groups: dict[str, tuple[str, list[str]]]
    sections: dict[str, list[Entry]]


def manual(command: str, overrides: Sequence[str] = ()) -> Manual:
    """All that ``eulernet <command>`` takes, with the groups and values that ``overrides`` give."""
    with searching_conf():
        cfg = compose(command, list(overrides), return_hydra_config=True)
    folders = config_folders(cfg.hydra)
    groups, sections = {}, dict[str, list[Entry]]()
    with_hydra: Any = with_names(OmegaConf.to_container(cfg))
    plain = {key: value for key, value in with_hydra.items() if key not in HIDDEN}
    commons = {file.stem: file for file in conf_dir().glob("*.yaml")}
    for name in (command, "machine", "store"):  # a key stands where it stands first
        file, own = read_comments(commons[name]), comments_of(name, commons, "")
        title = "" if name == command else file.about
        keys = [key for key in plain if key not in GROUPS and key in file.keys]
        sections[title] = [entry for key in keys for entry in entries(key, plain.pop(key), own)]
        if DIR in own:
            sections[title].append(Entry(DIR, with_hydra["hydra"]["run"]["dir"], own[DIR]))
    chosen = {group: choice for group, choice in cfg.hydra.runtime.choices.items() if group in GROUPS}
    comments, titles = dict[str, str](), dict[str, str]()
    for group, choice in chosen.items():
        files = group_files(group, folders)
        groups[group] = str(choice).replace("None", "null"), list(files)
        if choice and group != "tuned":
            comments |= comments_of(choice, files, f"{group}.")
            titles[group] = f"{group}={choice}: {read_comments(files[choice]).about}"
    for group, title in titles.items():
        sections[title] = list(entries(group, plain.pop(group), comments)) if group in plain else []
    sections["Others"] = [Entry(key, value, "") for key, value in plain.items()]
    return Manual(groups, {title: found for title, found in sections.items() if found})


def entries(key: str, value: Any, comments: Mapping[str, str]) -> Iterator[Entry]:
    """``key`` and its value, or what is in it where its parts have comments of their own."""
    if key.startswith("sweep.") and (not isinstance(value, dict) or value.keys() <= RANGE):
        yield Entry(key, value, f"range of {key.removeprefix('sweep.')}; null leaves it out")
    elif isinstance(value, dict) and (key in GROUPS or key.startswith("sweep") or has_parts(key, comments)):
        for part, inner in value.items():
            if part not in HIDDEN:
                yield from entries(f"{key}.{part}", inner, comments)
    else:
        yield Entry(key, value, comments.get(key, ""))


def has_parts(key: str, comments: Mapping[str, str]) -> bool:
    return any(one.startswith(f"{key}.") for one in comments)


def page(command: str, argv: Sequence[str]) -> str:
    """The help of ``command`` as text; ``argv`` may choose groups and values."""
    folders = [after for option, after in pairwise(argv) if option in ("--config-dir", "-cd")]
    path = [f"hydra.searchpath=[file://{Path(folders[-1]).absolute()}]"] if folders else []
    found = manual(command, [*path, *readable([word for word in argv if "=" in word or word.startswith("~")])])
    about = read_comments(conf_dir() / f"{command}.yaml")
    width = min(shutil.get_terminal_size().columns, WIDEST)
    lines = [*wrapped(about.about, width), "", heading("Examples"), *(f"  {example}" for example in about.examples)]
    if found.groups:
        lines += ["", heading("Choices: each names a file in conf, or in a folder of yours")]
    for group, (choice, names) in found.groups.items():
        of_dataset = f"{found.groups['dataset'][0]}/" if group == "tuned" else ""
        others = [name for name in names if name.startswith(of_dataset) and name != choice]
        lines += row(f"{group}={choice}", f"or {', '.join(others)}" if others else "", width)
    for title, section in found.sections.items():
        lines += ["", *map(heading, wrapped(title or "Settings", width))]
        for entry in section:
            lines += row(f"{entry.key}={shown(entry.value)}", entry.comment, width)
    return "\n".join([*lines, "", heading("Options"), OPTIONS])


def row(setting: str, comment: str, width: int) -> list[str]:
    """``setting``, and beside it the comment, wrapped; where the setting is too long, below it."""
    parts = comment.splitlines()
    beside = [line for part in parts for line in wrapped(part, width - COLUMN, hanging=len(parts) > 1)]
    short = len(setting) + 4 <= COLUMN
    first = f"  {setting:{COLUMN - 2}}{beside.pop(0) if beside and short else ''}".rstrip()
    return [first, *(" " * COLUMN + line for line in beside)]


def wrapped(text: str, width: int, *, hanging: bool = False) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False, subsequent_indent="  " * hanging)


def heading(text: str) -> str:
    return f"\033[1m{text}\033[0m" if colours() else text


def shown(value: Any) -> str:
    """A value as one would type it; of one that is long, that there is one."""
    if isinstance(value, dict):
        text = "{" + ", ".join(f"{key}: {shown(part)}" for key, part in value.items()) + "}"
    elif isinstance(value, list):
        text = f"[{', '.join(map(shown, value))}]"
    else:
        text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) < LONG else "..."
