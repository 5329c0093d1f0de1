"""What a rehearsal's workers load before their first stage: stand-ins of files whose digests are pinned become readable there.

No other process loads it, so that no run outside of a rehearsal takes a stand-in for the file.
"""

from retable.bench.rehearsal import inception

inception.accept()
