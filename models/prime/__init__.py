"""PRIME: a learned topology over random memristor conductances, with an input-aware early stop (arXiv 2407.18625)."""
