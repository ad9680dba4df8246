"""``python -m bench [NAME ...]``: run the measurements, all by default, and print their ratios."""

from __future__ import annotations

import argparse
import importlib

NAMES = ("changes", "radar", "digests", "log", "matching", "consent", "vault", "gates")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help="which to run (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size (default 1)")
    given = parser.parse_args()
    for name in given.names or NAMES:
        importlib.import_module(f"bench.{name}").run(given.scale)


if __name__ == "__main__":
    main()
