"""``python -m ctreasoner`` is the command line."""

from .cli import main

main()
