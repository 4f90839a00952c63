"""Completion in bash and zsh: commands, the keys of a command, the files of a group."""

from collections.abc import Iterator

from eulernet.cli.help import manual
from eulernet.cli.keys import GROUPS

# bash takes "=" for the end of a word, and puts in what follows it; zsh does not. Files are proposed where we have
# no answer.
SCRIPT = """\
if [ -n "$ZSH_VERSION" ]; then
  whence compdef >/dev/null || { autoload -U compinit && compinit; }
  autoload -U bashcompinit && bashcompinit
fi
_eulernet() {
  local IFS=$'\\n' typed="${COMP_LINE:0:$COMP_POINT}"
  local word="${typed##* }"
  COMPREPLY=($(eulernet --complete "$typed" 2>/dev/null))
  case "$COMP_WORDBREAKS" in *=*) case "$word" in *=*) COMPREPLY=("${COMPREPLY[@]#*=}") ;; esac ;; esac
}
complete -o nospace -o default -F _eulernet eulernet"""


def proposals(typed: str, commands: tuple[str, ...]) -> Iterator[str]:
    """What the last word of the line ``typed`` may become; a space follows where it is whole."""
    *before, word = typed.split(" ")
    _, *chosen = filter(None, before)
    if not chosen:
        yield from (f"{name} " for name in commands if name.startswith(word))
        return
    found = manual(chosen[0], [one for one in chosen[1:] if one.partition("=")[0] in GROUPS])
    settings = {entry.key: entry.value for section in found.sections.values() for entry in section}
    key, equals, value = word.partition("=")
    if equals:
        switch = ["true", "false"] if isinstance(settings.get(key), bool) else []
        names = found.groups[key][1] if key in found.groups else switch
        yield from (f"{key}={name} " for name in names if name.startswith(value))
        return
    after = [key[len(word) :] for key in (*found.groups, *settings) if key.startswith(word)]
    parts = (rest.partition(".") for rest in after)  # keys by their sections: train., then train.lr=
    yield from dict.fromkeys(f"{word}{head}{dot or '='}" for head, dot, _ in parts)
