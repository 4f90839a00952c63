"""What Hydra needs: the door between the command line and the package."""

from eulernet.cli.composing import compose as compose
from eulernet.cli.door import command as command
from eulernet.cli.keys import group_files as group_files
from eulernet.cli.keys import to_plain as to_plain
