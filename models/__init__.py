"""Reference implementations, one folder a paper; nothing here knows the harness."""

if __name__ == "models":  # imported from the repository's root by the folder's own name
    from retable.names import take_over

    take_over(__name__)
