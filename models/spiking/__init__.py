"""Spiking primitives: multi-step neurons over (T, ...), first axis time, and their surrogate derivatives.

- `neurons`: the modules IF, LIF, PLIF, I-LIF, elastic (ternary), and the non-spiking integrator.
- `operators`: the same as functions, with a state in and out, and the choice of a backend.
- `reference`: the definition in plain torch; `numba_*`, `triton_*`: the same for CPU and CUDA.
- `exchange`: chains of layers in the Neuromorphic Intermediate Representation, out and back.
- `marks`: `spikes`, by which a neuron of one's own tells the energy account what it made.
- `surrogates`: what stands in for the derivative of the step.
"""
