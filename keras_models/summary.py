"""Parameters, multiply-accumulates and FLOPs of the networks beside what their papers print.

Without NAME: the papers' tables, each printed figure marked = (ours, rounded or cut to its digits), ~ (ours within
5 %), x (ours is another) or ! (a misprint). With NAME: that network layer by layer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from keras_models import command
from keras_models.command import UserError, option


@dataclass(frozen=True)
class SummaryOptions:
    """The command's flags."""

    network: str | None = option(None, positional=True, metavar="NAME", help="one network, layer by layer")
    json: str | None = option(None, metavar="FILE", writes=(), help="write the same as JSON")
    markdown: str | None = option(None, metavar="FILE", writes=(), help="write the same as Markdown")
    plot: str | None = option(
        None,
        metavar="FILE.png",
        writes=(),
        help="draw accuracy against parameters instead: the papers' and the measured results",
    )
    results: str = option("benchmarks", metavar="DIR", help="where the measured results are (JSON files)")


def main(argv: list[str] | None = None) -> None:
    """The command; raises UserError for a mistake that the user can mend."""
    options = command.parse(
        SummaryOptions,
        argv,
        program="python -m keras_models.summary",
        description=__doc__,
        example="python -m keras_models.summary extremec3",
    )
    command.load_keras()
    from keras_models import registry
    from keras_models.papers import plot
    from keras_models.papers.report import as_markdown, as_text, layer_table, network_table, paper_tables

    if options.network and options.network not in registry.names():
        raise UserError(f"Unknown network. Valid names: {', '.join(registry.names())}. Received: {options.network!r}")
    if options.plot:
        points = [*plot.published(), *plot.measured(options.results)]
        with command.whole_file(options.plot) as temporary:
            plot.draw(points).savefig(temporary)
        print(f"{sum(point.measured for point in points)} of {len(points)} points measured -> {options.plot}")
        return
    tables = [layer_table(options.network)] if options.network else [*paper_tables(), network_table()]
    print("\n\n".join(as_text(table) for table in tables))
    if options.json:
        command.write_text(options.json, json.dumps(tables, indent=1))
    if options.markdown:
        command.write_text(options.markdown, "\n\n".join(as_markdown(table) for table in tables) + "\n")


if __name__ == "__main__":
    command.run(main)
