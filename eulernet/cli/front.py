"""The command ``eulernet``: it lists the commands, and hands over to the one that is named."""

import shutil
import sys
import textwrap
from contextlib import suppress
from importlib import import_module

from eulernet.cli.comments import read_comments
from eulernet.errors import nearest
from eulernet.settings import conf_dir

COMMANDS = ("train", "prepare", "tune", "backtest", "reproduce", "evaluate", "predict", "report", "export", "serve")

OPTIONS = (
    "eulernet COMMAND --help          lists what a command takes",
    "eulernet --version               says what runs",
    'eval "$(eulernet --completion)"  makes the tab key complete it, in bash and zsh',
)


def main() -> None:
    name, *rest = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        sys.argv = [f"eulernet {name}", *rest]
        import_module(f"eulernet.{name}").main()
    elif name in ("--version", "-V"):
        print(version())
    elif name in ("--help", "-h", "help"):
        print(overview())
    elif name in ("--completion", "--complete"):
        from eulernet.cli.completion import SCRIPT, proposals

        with suppress(Exception):  # of a line that no command takes nothing follows
            print(SCRIPT if name == "--completion" else "\n".join(proposals(" ".join(rest), COMMANDS)))
    else:
        sys.exit(f"error: there is no command {name!r}; {nearest(name, COMMANDS)}")


def overview() -> str:
    """The commands, an example each."""
    width = min(shutil.get_terminal_size().columns, 110)
    lines = ["eulernet: click-through-rate models, from raw logs to a table of results", ""]
    for name in COMMANDS:
        about = read_comments(conf_dir() / f"{name}.yaml")
        lines += textwrap.wrap(about.about, width, initial_indent=f"{name:11}", subsequent_indent=" " * 11)
        lines.append(" " * 4 + about.examples[0].partition("  #")[0])
    return "\n".join([*lines, "", *OPTIONS])


def version() -> str:
    """eulernet, torch, and the device that a command takes unless told otherwise."""
    import torch

    from eulernet import __version__

    cuda = torch.cuda.is_available()
    device = f"cuda ({torch.cuda.get_device_name()})" if cuda else f"cpu ({torch.get_num_threads()} threads)"
    return f"eulernet {__version__}, torch {torch.__version__}, {device}"
