"""Speech with its phonemes: a corpus that is synthesised here, and published ones from their folders.

- `speech`: what a task and a method are given. `features`: from a recording to that. `front_end`, `pitch`: its two parts.
- `espeak`: the synthesiser, in a process of its own. `sentences`: what it says. `synthetic`: the data set.
- `textgrid`, `corpora`: the published corpora with the alignments that go with them.
"""
