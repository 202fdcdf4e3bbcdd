"""Test a grasp model in physics beside the baselines; ``--help`` lists the overrides one needs most."""

import sceneleapultra.utils.core.environment  # noqa: F401

from typing import Any

from omegaconf import DictConfig
from rich.table import Table

from sceneleapultra.evaluation.early_checks import check_before_loading, check_files
from sceneleapultra.utils.core.cli import hydra_program
from sceneleapultra.utils.core.console import (
    ProgressBars,
    console,
    say,
    setup_logging,
)


def test(cfg: DictConfig) -> dict[str, Any]:
    """Test the checkpoint that ``cfg`` names; return what results.json holds."""
    check_before_loading(cfg)
    check_files(cfg)
    from sceneleapultra.evaluation.suite import ModelTest  # here: it takes seconds that --help should not

    setup_logging()
    job = ModelTest.open(cfg)
    with ProgressBars() as bars:
        document = job.run(bars.start_bar)
    console.print(table(document))
    if document["tuning"]:
        say(document["tuning"]["sentence"])
    say(f"report   {job.output / 'report.html'}\nresults  {job.output / 'results.json'}")
    return document


def table(document: dict[str, Any]) -> Table:
    """Return success of every method on every split."""
    from sceneleapultra.reporting.charts import percent
    from sceneleapultra.reporting.results import ResultTable, Role

    results = ResultTable.from_document(document)
    first, second = results.headline
    view = Table(
        title=f"{first.label.capitalize()} in simulation, % [95 % interval]; {second.label}, %",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    view.add_column("method", no_wrap=True)
    for split in results.splits:
        view.add_column(split, justify="right", no_wrap=True)
        view.add_column(second.label.removeprefix("and collision-"), justify="right", no_wrap=True)
    for method in results.methods:
        cells = []
        for split in results.splits:
            summary = results.summary(method, split) or {first.key: {}, second.key: {}}
            rate, other = (percent(summary[key]).replace(" %", "") for key in (first.key, second.key))
            cells += [rate, other.split(" [")[0]]
        view.add_row(method, *cells, style="" if results.role(method) is Role.BASELINE else "bold")
    return view


@hydra_program("test")
def main(cfg: DictConfig) -> None:
    """Test with the configuration composed from ``config/test.yaml`` and the command line."""
    test(cfg)


if __name__ == "__main__":
    main()
