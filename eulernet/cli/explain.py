"""What is said of a configuration that is refused: one line, with the name that was meant."""

import errno
import re
from collections.abc import Iterable, Sequence

from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from eulernet.cli.keys import GROUPS, known_keys, renamed
from eulernet.cli.words import unquoted
from eulernet.errors import UserError, close, nearest
from eulernet.settings import conf_dir

PASSWORD = re.compile(r"(://[^\s:/@]*):\S*@")  # of an address that Hydra could not read, and repeats
ELSEWHERE = {  # what other libraries call our keys
    **dict.fromkeys(("learning_rate", "eta"), "lr"),
    **dict.fromkeys(("epochs", "epoch", "num_epochs", "n_epochs", "num_train_epochs", "iterations"), "max_epochs"),
    **dict.fromkeys(("batch", "bs", "train_batch_size"), "batch_size"),
    **dict.fromkeys(("l2", "wd", "l2_reg", "regularizer"), "weight_decay"),
    **dict.fromkeys(("early_stopping", "early_stop", "early_stop_patience", "stopping_step"), "patience"),
    **dict.fromkeys(("grad_clip", "clip_grad_norm", "max_grad_norm", "max_gradient_norm"), "clip_norm"),
    **dict.fromkeys(("dtype", "amp", "fp16", "bf16"), "precision"),
    **dict.fromkeys(("embed_dim", "embedding_size", "emb_dim", "emb_size"), "embedding_dim"),
    **dict.fromkeys(("dnn_hidden_units", "mlp_hidden_size", "hidden_sizes", "hidden"), "hidden_units"),
    **dict.fromkeys(("dropout_rate", "dropout_prob", "net_dropout"), "dropout"),
    **dict.fromkeys(("gpu", "gpus", "accelerator", "cuda"), "device"),
    **dict.fromkeys(("random_state", "random_seed", "manual_seed"), "seed"),
    **dict.fromkeys(("checkpoint", "resume_from", "ckpt_path"), "resume"),
    **dict.fromkeys(("data", "data_path", "dataset_path"), "raw"),
    **dict.fromkeys(("n_trials", "num_trials"), "trials"),
    **dict.fromkeys(("n_jobs", "num_workers"), "workers"),
}


def meant(key: str, keys: Iterable[str]) -> str | None:
    """The one of ``keys`` that ends as ``key`` does, or as other libraries' name for it."""
    last = key.rpartition(".")[2].lower().replace("-", "_")
    names = (last, ELSEWHERE.get(last, last))
    return next((one for name in names for one in keys if one.rpartition(".")[2] == name), None)


def unknown_key(key: str, config: str, overrides: Sequence[str]) -> str:
    """What is said of ``key``, which ``conf/<config>.yaml`` has not. It proposes none of ``overrides``."""
    wrap = key.removeprefix("model.")
    if (conf_dir() / "wrap" / f"{wrap}.yaml").is_file():
        return f"unknown key {key!r}; it comes with wrap={wrap}"
    keys = known_keys(config, overrides)
    found = meant(key, keys) or close(key, keys)
    given = [override.lstrip("+~").partition("=")[0] for override in overrides]
    if found in given:
        return f"unknown key {key!r}; {found!r} is given already"
    return f"unknown key {key!r}; " + (f"did you mean {found!r}?" if found else f"eulernet {config} --help lists them")


def explain(error: Exception, config: str, overrides: Sequence[str]) -> str:
    """One line for what went wrong with ``overrides`` of ``conf/<config>.yaml``."""
    line = " ".join(str(error).split())
    if out_of_memory(error):
        line = "not enough memory; choose a smaller model, batch or dataset"
    elif isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        line = renamed(group, name) or f"unknown {group} {name!r}; {nearest(name, error.options)}"
    elif isinstance(error, OverrideParseException):
        line = f"cannot read {error.override!r} on the command line; write key=value, odd values quoted twice"
        if "fields" in str(error.override):
            line += """, odd names in quotes: 'dataset.fields={"my column": number}'; or a file with --config-dir"""
        after = [*overrides, "="][list(overrides).index(error.override) + 1] if error.override in overrides else "="
        if "=" not in after and re.fullmatch(r"[\w.]+", str(error.override)):  # train.lr 1e-3
            line = f"a setting is one word: write {error.override}={after} instead of {error.override} {after}"
    elif isinstance(error, HydraException) and (found := re.match(r"Could not override '([^']+)'", str(error))):
        before, _, inner = str(getattr(error.__cause__, "full_key", "")).partition(f"{found[1]}.")
        line = unknown_key(found[1], config, overrides)
        if inner and not before:  # a dictionary that has names already, and takes no more by itself
            line = f"{found[1]} has no {unquoted(inner)!r} yet; to add it write +{found[1]}=..."
    elif isinstance(error, HydraException) and str(error).startswith("Ambiguous value"):
        line = f"{line.split('1. ')[0].strip()}; to run every value add -m, to give a list write key=[a,b]"
    elif str(error).startswith("Config group override must be"):
        line = f"a group ({', '.join(GROUPS)}) takes the name of a file in conf/; ~tuned leaves out the tuned cell"
    elif isinstance(error, OmegaConfBaseException):
        line = str(error).splitlines()[0]
    elif isinstance(error, OSError) and error.strerror:
        line = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        line += "; free some space, or move the folder with data_dir= or hydra.run.dir=" * (error.errno == errno.ENOSPC)
    return PASSWORD.sub(r"\1:***@", line)


def out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "allocate memory" in str(error)


def refuse_options(config: str, argv: Sequence[str]) -> None:
    """UserError for an option that Hydra has not: ``--lr 1e-3`` is answered with ``train.lr=1e-3``."""
    unknown = {word for word in get_args_parser().parse_known_args(list(argv))[1] if word.startswith("-")}
    wrong = [place for place, word in enumerate(argv) if word in unknown or word == "--run"]  # Hydra's says nothing
    for place in wrong:
        name, _, value = argv[place].lstrip("-").partition("=")
        key, after = meant(name, known_keys(config, argv)), argv[place + 1 :]
        if key is not None:
            value = value or (after[0] if after and "=" not in after[0] and not after[0].startswith("--") else "VALUE")
            raise UserError(f"a setting has no dashes: write {key}={value} instead of {argv[place]}")
        if argv[place] in unknown:
            raise UserError(f"unknown option {argv[place]!r}; settings are key=value, and --help lists them")
