"""SpikeVoice (arXiv 2408.00788): text to speech by FastSpeech 2 with spikes before every linear layer.

- `sizes`: the network's configuration. `attention`, `block`: spike-driven attention, temporal and then sequential (STSA).
- `variance`: duration, pitch, energy, and the length regulator. `network`: encoder, decoder, post-net, the whole.
- `fastspeech2`: the same parts without spikes, the ANN twin. `losses`, `checkpoint`: what the released code has.
"""
