"""SpikeYOLO: integer-valued training, spike-driven inference (arXiv 2407.20708). Activations are x_TBCHW, first axis time."""
