"""What was published?

`freeze.freeze` publishes results as an immutable version, `versions.load` reads one that is intact, `diff.moves` says which
numbers moved between two states and why, `against.frozen_checks` holds present numbers to a version.
"""
