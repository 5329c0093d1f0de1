"""The scans of Mamba (arXiv 2312.00752) and Mamba-2 (arXiv 2405.21060), and the mixers made of them.

- `selective_scan`: S6, diagonal A of size (D, N); `state_update` is one step of it.
- `ssd`: the state-space duality form, one scalar A a head, in chunks (`ssd_chunks`), and one step of it.
- `conv`, `norm`: the causal depthwise convolution and the (gated) RMSNorm around the scans.
- `linear`: projections for decoding, where reading the weights is all the time there is.
- `mamba1`, `mamba2`: the mixers, with the parameter names and shapes of the official checkpoints.
- `scan_reference`: the scan's definition in plain torch; `numba_*`, `triton_*`, `mamba_ssm_backend`: the same for CPU and CUDA.

The scans, their steps and the convolution are operators of the namespace `retable` with hand-written first derivatives
(second ones raise); they compute in float32 at least, whatever the dtype of their inputs.
"""
