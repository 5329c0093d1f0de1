"""Retable: the tables of papers, rebuilt, with a verdict for every claim."""

__version__ = "0.1.0"
