"""One file a register. A new one is a new file here, named in the entry points of ``pyproject.toml``; nothing else
changes."""
