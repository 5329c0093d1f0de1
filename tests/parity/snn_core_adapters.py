"""Spiking core (arXiv 2409.02111 and the methods it surveys): which check holds which kind of fixture."""

from tests.parity import snn_cnns, snn_energy, snn_neurons, snn_stfn, snn_transformers

ADAPTERS = {
    **snn_cnns.ADAPTERS,
    **snn_energy.ADAPTERS,
    **snn_neurons.ADAPTERS,
    **snn_stfn.ADAPTERS,
    **snn_transformers.ADAPTERS,
}
