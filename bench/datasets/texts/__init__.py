"""Texts that language models are calibrated on and measured with."""
