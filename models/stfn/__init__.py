"""Spiking graph networks with spatial-temporal feature normalisation (STFN), GC-SNN and GA-SNN (arXiv 2407.20508).

`graph` holds neighbourhoods and the sparse product, `dynamics` the constants of neurons and normalisation, `norm`, `layers`,
`coding` and `readout` the equations, `network` what they make up, with the ANN twins GCN and GAT. Shapes: N nodes, C features,
K classes, T steps, E directed edges; spikes are H_TNC. No code was released, so what the text leaves open is decided where it
stands and said there.
"""
