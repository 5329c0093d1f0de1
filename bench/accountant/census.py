"""What each layer did, in the words that energy models share: one set of counts for all of them.

A census lists layers in the order of their first call: synapses (convolutions, linear layers, products of two activations),
neurons, and what stands beside them. Counts are sums over all calls, samples and steps: whole numbers, but for a census that was scaled. What a tensor is follows from its
mark, never from its values: `binary` spikes, `integers` (sums of spikes, integer spikes), `signed` spikes, `graded` (spikes
times a number, as an average leaves them), `real`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Form = Literal["binary", "integers", "signed", "graded", "real"]
FORMS: tuple[Form, ...] = ("binary", "integers", "signed", "graded", "real")
SPIKES: tuple[Form, ...] = ("binary", "integers", "signed")
"""Forms that events can carry: a value v is |v| spikes."""


@dataclass(frozen=True)
class Geometry:
    """A layer's shape. `weights` and `bias` are numbers of values, `word` the bytes of one; a product has no weights."""

    kind: Literal["convolution", "linear", "product"]
    channels_in: int
    channels_out: int
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    groups: int = 1
    weights: int = 0
    bias: int = 0
    word: int = 4

    @property
    def taps(self) -> int:
        """Values of a kernel."""
        return math.prod(self.kernel)

    @property
    def fan_out(self) -> int:
        """Weights that an input element has, wherever it is."""
        return self.channels_out // self.groups * self.taps

    @property
    def reach(self) -> int:
        """Outputs that an input element meets inside: ceil(kernel / stride) an axis."""
        pairs = zip(self.kernel, self.stride, strict=True)
        return self.channels_out // self.groups * math.prod(-(-k // s) for k, s in pairs)


@dataclass
class Operand:
    """The activations that enter a layer: `events` are not zero, `spikes` are the sum of |integers|."""

    form: Form = "binary"
    elements: float = 0
    events: float = 0
    spikes: float = 0
    magnitude: float = 0.0
    """The sum of |values|, where a rule asked for it."""

    def add(self, form: Form, elements: float, events: float, spikes: float) -> None:
        self.form = FORMS[max(FORMS.index(self.form), FORMS.index(form))]
        self.elements += elements
        self.events += events
        self.spikes += spikes


@dataclass
class Neurons:
    """Neurons of one operator: `updates` are neurons times steps times samples."""

    layer: str
    leaky: bool
    hard: bool
    fires: bool = True
    steps: int = 1
    calls: float = 0
    updates: float = 0
    events: float = 0
    spikes: float = 0
    source: Synapses | None = None
    """The layer whose currents they integrate, where one is known."""
    direct: bool = False
    """Whether they do so without a normalisation or a sum in between."""


@dataclass
class Synapses:
    """Synapses of one operator of one layer.

    `whole` are the products of every output with its full kernel, padding included, `dense` those without padding;
    `met_events` and `met` are those whose input is not zero, and the accumulates of its spikes.
    """

    layer: str
    operator: str
    geometry: Geometry
    input: Operand = field(default_factory=Operand)
    other: Operand | None = None
    """The second operand of a product."""
    sides: tuple[int, int] = (1, 1)
    """How many products an element of the first operand of a product is in, and one of the second."""
    calls: float = 0
    outputs: float = 0
    whole: float = 0
    dense: float = 0
    met_events: float = 0
    met: float = 0
    spikes_by_step: tuple[int, ...] = ()
    steps_marked: int = 1
    neurons: Neurons | None = None
    patches: Patches | None = None

    @property
    def steps(self) -> int:
        """Time steps in one call: those of its spikes, or of the neurons that take all its outputs."""
        if self.steps_marked > 1:
            return self.steps_marked
        neurons = self.neurons
        return neurons.steps if neurons is not None and neurons.updates == self.outputs else 1

    @property
    def spiking(self) -> bool:
        return self.input.form in SPIKES


@dataclass
class Patches:
    """What an event-driven crossbar of `tile` input channels sees: by tile non-empty patches and rows with a spike, and sites."""

    tile: int
    active: int = 0
    rows: tuple[int, ...] = ()
    sites: int = 0


@dataclass
class Beside:
    """Pooling, normalisation, sums and means: `window` values make one of `outputs`; `spikes` of binary operands alone."""

    layer: str
    kind: Literal["average pool", "max pool", "batch norm", "add", "reduce"]
    calls: float = 0
    rows: float = 0
    elements: float = 0
    outputs: float = 0
    channels: int = 0
    window: int = 1
    spikes: float | None = 0
    affine: bool = False


Layer = Synapses | Neurons | Beside


@dataclass(frozen=True)
class Census:
    """The layers, over `samples` samples in `batches` calls of the model."""

    layers: tuple[Layer, ...]
    samples: int
    batches: int = 1
    unseen: int = 0
    """Products of operators that are no layers here: scans, bilinear forms, sparse and quantised products."""

    @property
    def batch(self) -> float:
        """Samples in a call of the model."""
        return self.samples / self.batches

    @property
    def spiking(self) -> bool:
        return any(isinstance(layer, Neurons) for layer in self.layers)

    def synapses(self) -> Iterator[Synapses]:
        return (layer for layer in self.layers if isinstance(layer, Synapses))

    def neurons(self) -> Iterator[Neurons]:
        return (layer for layer in self.layers if isinstance(layer, Neurons))

    def steps(self, layer: Synapses | Neurons) -> float:
        """Time steps of a sample, in one call or one call after another."""
        return layer.steps * layer.calls / self.batches

    def inputs(self, layer: Synapses) -> float:
        """N: input elements of a sample and step."""
        return layer.input.elements / (self.samples * self.steps(layer))

    def outputs(self, layer: Synapses | Neurons) -> float:
        """M: output elements, or neurons, of a sample and step."""
        total = layer.outputs if isinstance(layer, Synapses) else layer.updates
        return total / (self.samples * self.steps(layer))

    @property
    def products(self) -> float:
        """All products, padding included: what the share of a rule's gaps is taken of."""
        return sum(layer.whole for layer in self.synapses()) + self.unseen
