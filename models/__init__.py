"""Reference implementations, one folder a paper; nothing here knows the harness."""
