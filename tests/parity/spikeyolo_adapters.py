"""SpikeYOLO (arXiv 2407.20708): which check holds which kind of fixture."""

import importlib.util

from tests.parity import spikeyolo_blocks, spikeyolo_detector, spikeyolo_neurons

ADAPTERS = {**spikeyolo_blocks.ADAPTERS, **spikeyolo_detector.ADAPTERS, **spikeyolo_neurons.ADAPTERS}

if importlib.util.find_spec("tests.parity.spikeyolo_data"):
    ADAPTERS |= importlib.import_module("tests.parity.spikeyolo_data").ADAPTERS
