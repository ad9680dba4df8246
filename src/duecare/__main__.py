"""``python -m duecare`` is the command ``duecare``."""

from duecare.cli import main

main()
