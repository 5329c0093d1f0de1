"""Randomized smoothing coding for spiking networks (arXiv 2407.20099), rebuilt from its abstract: no code was released."""
