"""Renderings of tables, verdicts and plots; each module writes one kind of file, none runs anything."""

STYLES = ("plain", "simple", "grid", "outline", "psql", "github", "pipe", "orgtbl", "rst", "mediawiki", "tsv")
"""Those of tabulate's styles whose cells can hold any text: nothing in it ends a cell, a row or the table."""
