"""Embedded Prompt Tuning (arXiv 2407.01003) and what it is compared with, over one Vision Transformer."""
