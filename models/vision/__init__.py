"""Spiking vision networks that the survey arXiv 2409.02111 compares, each with its ANN twin.

`layers` holds what they share: time merged into the batch, inputs as steps, the neurons by name. The Transformers are
`spikformer` (arXiv 2209.15425), `spike_driven` (SDT, arXiv 2307.01694), `meta_spikeformer` (SDT-v2, arXiv 2404.03663) and
`qkformer` (arXiv 2403.16552). A network takes images (B, C, H, W), shown T times, or event frames (B, T, C, H, W), and gives
logits (B, K); its published sizes stand beside it as data, and its state dict has the official names.
"""
