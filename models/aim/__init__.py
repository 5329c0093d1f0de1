"""AiM: scalable autoregressive image generation with Mamba (arXiv 2408.12245)."""
