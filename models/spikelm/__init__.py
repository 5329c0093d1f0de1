"""SpikeLM (arXiv 2406.03287): BERT with elastic bi-spiking neurons before every linear layer of its encoder.

- `neurons`: the elastic neuron with its measured amplitudes, and what it is compared with (LIF, parallel neurons, none).
- `bert`: spiking linear layers, attention, encoder, heads. `checkpoint`: the released layout.
- `tokenizer`: WordPiece, or a corpus's words. `training`: both stages. `classifier`: what a task is given.
- `recipe`, `method`: what a suite declares.
"""
