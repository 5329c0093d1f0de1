"""A causal Transformer over image tokens in the manner of LlamaGen (arXiv 2406.06525): AiM's rival at equal size."""
