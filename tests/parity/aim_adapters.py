"""AiM (arXiv 2408.12245): which check holds which kind of fixture."""

from tests.parity import aim_scan, aim_stage2, aim_tokenizer

ADAPTERS = {**aim_scan.ADAPTERS, **aim_stage2.ADAPTERS, **aim_tokenizer.ADAPTERS}
