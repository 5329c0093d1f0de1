"""From log-mel spectrograms to sound: `griffin_lim` (no weights), `hifigan` (published weights); `choice` takes one by name.

`method` is the recording itself as a method, with or without a vocoder: what a synthesiser can reach at best.
"""
