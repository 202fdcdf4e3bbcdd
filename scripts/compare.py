"""Say what differs between runs: settings, data, code, curves; and success by object where they had the same test.

python scripts/compare.py runs/a runs/b
"""

import sceneleapultra.utils.core.environment  # noqa: F401

from pathlib import Path

from sceneleapultra.utils.core import cli
from sceneleapultra.utils.core.console import say, shown


def compare(runs: list[Path], *, output: Path = Path("comparison.html")) -> None:
    """Compare runs with the first of them, as text and as a page.

    Args:
        runs: folders of trainings, two or more; the first is what the others are compared with
        output: the page to write (.html)
    """
    from sceneleapultra.evaluation.comparison import compare_runs

    comparison = compare_runs(runs)
    for line in comparison.text():
        say(line)
    say(f"page   {shown(comparison.write_page(output))}")


def main() -> None:
    """Do what the command line says."""
    cli.run(compare, __doc__)


if __name__ == "__main__":
    main()
