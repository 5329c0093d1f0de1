"""The harness: suites, cases, records, tables, claims, verdicts. Each room says in its `__init__.py` what it answers."""

if __name__ == "bench":  # imported from the repository's root by the folder's own name
    from retable.names import take_over

    take_over(__name__)
