"""Published energy models: which check holds which kind of fixture."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from retable.bench.accountant.rules import (
    Bill,
    KerasSpiking,
    Lemaire,
    LemaireAuthors,
    LemairePiecewise,
    Model,
    NeuroMCSpikingJelly,
    SimpleMemory,
    SpikeSim,
    SpikeSimEvent,
)
from retable.bench.accountant.rules import neuromc as nmc
from tests.parity.conftest import Golden
from tests.parity.energy_networks import account_of, network_of

ENERGY = 1e-9
AUTHOR = 1e-11
QUADRATIC = 1e-6


def values(golden: Golden, prefix: str) -> dict[str, Any]:
    """Numbers and texts below `e/PREFIX/`."""
    start = f"e/{prefix}/"
    return {name.removeprefix(start): value[()] for name, value in golden.arrays.items() if name.startswith(start)}


def check_network(golden: Golden) -> None:
    account = account_of(golden, ("simple-memory", *_event_tiles(golden)))
    census = account.census
    models = {name.split("/")[1] for name in golden.arrays if name.startswith("e/")}
    for model in sorted(models):
        check = next(check for start, check in CHECKS.items() if model.startswith(start))
        check(golden, model, census)


def _event_tiles(golden: Golden) -> list[Model]:
    """A rule that has the patches counted, of the crossbars that the fixture's events ask for."""
    sizes = {
        _spikesim_options(golden, variant)["crossbar"]
        for variant in _variants(golden, "spikesim")
        if "event" in variant
    }
    return [SpikeSimEvent(crossbar=size) for size in sizes]


def _variants(golden: Golden, model: str) -> list[str]:
    return sorted({name.split("/")[2] for name in golden.arrays if name.startswith(f"e/{model}/")})


def near(got: float, want: float, what: str, tolerance: float = ENERGY) -> None:
    assert got == pytest.approx(float(want), rel=tolerance, abs=1e-12), what


def check_simple(golden: Golden, model: str, census: Any) -> None:
    """Counts and energies but those of neurons' additions, which depend on how a neuron is written down."""
    bill = SimpleMemory(as_run=True).bill(census)
    want = values(golden, model)
    bytes_ = {
        "weight_read_bytes": "weight_read",
        "bias_read_bytes": "bias_read",
        "neuron_state_read_bytes": "state_read",
        "neuron_state_write_bytes": "state_write",
    }
    names = {"mac": "mac", "synop": "synop", **bytes_}
    for theirs, ours in names.items():
        assert bill.total(ours) == want[f"counts/{theirs}"], theirs
    neurons = {row.layer for row in census.neurons()}
    by_layer = {tuple(key.split("/")[1:]): value for key, value in want.items() if key.startswith("layers/")}
    for (layer, count), value in by_layer.items():
        if layer in bill.counts and not (layer in neurons and count == "ac"):
            assert bill.counts[layer].get({**names, "ac": "ac"}[count], 0) == value, (layer, count)
    near(bill.term("mac"), want["pj/mac_pj"], "mac_pj")
    near(bill.term("parameters"), want["pj/parameter_memory_pj"], "parameter_memory_pj")
    near(bill.term("states"), want["pj/neuron_state_memory_pj"], "neuron_state_memory_pj")
    assert {layer for layer, _ in by_layer} - set(bill.counts) <= _silent(golden)
    artefact = want["counts/ac"] - bill.total("ac")
    for precision in ("fp32", "fp16", "int8"):
        total = want["pj/total"] if precision == "fp32" else want[f"{precision}/pj/total"]
        rule = SimpleMemory(as_run=True, precision=precision)  # type: ignore[arg-type]
        ours = rule.bill(census).term() + artefact * {"fp32": 0.9, "fp16": 0.4, "int8": 0.03}[precision]
        near(ours, total, f"total, {precision}")


def _silent(golden: Golden) -> set[str]:
    """Layers that do nothing that the model counts, by what they are."""
    return {
        layer["name"]
        for layer in network_of(golden)["layers"]
        if layer["op"] in ("relu", "flatten", "scale", "maxpool2d")
    } | set()


def check_piecewise(golden: Golden, model: str, census: Any) -> None:
    fifo = int(model.partition("fifo")[2] or 1000)
    bill, want = LemairePiecewise(as_run=True, fifo=fifo).bill(census), values(golden, model)
    for count in ("synop", "mac", "ac", "acc_addr", "mac_addr"):
        assert bill.total(count) == want[f"counts/{count}"], count
    terms = {
        "ops_pj": ["operations"],
        "addressing_pj": ["addressing"],
        "inout_pj": ["inputs", "outputs"],
        "params_pj": ["parameters"],
        "potential_pj": ["potentials"],
        "total": [],
    }
    for name, ours in terms.items():
        near(bill.term(*ours), want[f"pj/{name}"], name)
    for key, value in want.items():
        if key.startswith("layers/"):
            _, layer, count = key.split("/")
            assert bill.counts[layer].get(count, 0) == value, key


def check_authors(golden: Golden, model: str, census: Any) -> None:
    """The authors' code, one sample: each layer's terms and the total."""
    config = json.loads(str(golden.arrays[f"e/{model}/config"]))
    for variant, options in config["configs"].items():
        rule = _lemaire(options, config["fifo_size"])
        bill, want = rule.bill(census), values(golden, f"{model}/{variant}")
        tolerance = QUADRATIC if "quadratic" in variant else ENERGY
        samples = census.samples
        for key, value in want.items():
            layer, field = key.split("/")
            if field == "is_snn":
                continue
            terms = {
                "mem_pot": ["potentials"],
                "mem_weights": ["weights"],
                "mem_bias": ["bias"],
                "mem_io": ["inputs", "outputs"],
                "ops": ["operations"],
                "addr": ["addressing"],
                "total": [],
            }[field]
            row = bill if layer == "Total" else Bill({layer: bill.pJ.get(layer, {})})
            near(row.term(*terms) / samples, value, f"{variant}/{key}", tolerance)


def _lemaire(options: dict[str, Any], fifo: int) -> Lemaire:
    widths = {"ICONIP": "as published"}
    kinds = options.get("op_estimation_type") or {}
    chosen = {kind: widths.get(kinds[kind], kinds[kind]) for kind in kinds}
    sram = "packed" if options.get("sram_estimation_type") == "new" else "line"
    return LemaireAuthors(bits=options["mem_width"], fifo=fifo, sram=sram, **chosen)  # type: ignore[arg-type]


def _spikesim_options(golden: Golden, variant: str) -> dict[str, Any]:
    want = values(golden, f"spikesim/{variant}")
    return {"device": str(want["config/device"]), "crossbar": int(want.get("config/xbar_size", 64))}


def check_spikesim(golden: Golden, model: str, census: Any) -> None:
    for variant in _variants(golden, "spikesim"):
        want = values(golden, f"spikesim/{variant}")
        event = str(want["config/activity_mode"]) == "event"
        rule = (SpikeSimEvent if event else SpikeSim)(**_spikesim_options(golden, variant))
        bill = rule.bill(census)
        near(bill.term(), want["pj/total"], variant)
        assert bill.total("cycles") == want["counts/dense_pe_cycle_count"]
        terms = {"patch_control_pj": "control", "xbar_pj": "crossbar", "neuron_pj": "neurons", "pe_cycle_pj": "cycles"}
        for name, term in terms.items():
            if f"pj/{name}" in want:
                near(bill.term(term), want[f"pj/{name}"], f"{variant}/{name}")
        counts = {
            "active_patch_tile_count": "patches",
            "active_row_count": "rows",
            "active_output_tile_site_count": "sites",
        }
        for key, value in want.items():
            if not key.startswith("layers/"):
                continue
            _, layer, name = key.split("/")
            if name == "total_pj":
                near(sum(bill.pJ[layer].values()), value, f"{variant}/{key}")
            elif event and name in counts:
                assert bill.counts[layer][counts[name]] == value, (variant, key)


def check_spikesim_authors(golden: Golden, model: str, census: Any) -> None:
    """The authors' script, which takes a batch of one."""
    for key, value in values(golden, model).items():
        device, layer = key.split("/")
        bill = SpikeSim(device=device).bill(census)  # type: ignore[arg-type]
        near(sum(bill.pJ[layer].values()) / census.samples, value, key)


def check_neuromc(golden: Golden, model: str, census: Any) -> None:
    want = values(golden, model)
    if "refused" in want:
        return
    fragments = json.loads(str(want["fragments"]))
    if all(f["phase"] == "forward" for f in fragments):
        bill = NeuroMCSpikingJelly().bill(census)
        got = {name: bill.term(name) for name in ("mac", "base_memory", "extra_compute", "extra_memory")}
    else:
        got = _sum(fragment_energy(f, census) for f in fragments)
    for name, value in got.items():
        near(value, want[f"pj/{name}"], name)
    near(sum(got.values()), want["pj/total"], "total")


def _sum(parts: Any) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + value
    return total


def fragment_energy(f: dict[str, Any], census: Any) -> dict[str, float]:
    """A fragment as the rival lists it, with the sizes of its layer."""
    d, price = f["loop_dims"], NeuroMCSpikingJelly().prices
    forward, elements = f["phase"] == "forward", d["B"] * d["T"] * d["OY"] * d["OX"] * d["K"]
    if f["process_key"] == "with_sg":
        return (nmc.neuron if forward else nmc.neuron_backward)(elements, price, author=False)
    if f["process_key"] == "with_bn":
        return (nmc.batch_norm if forward else nmc.batch_norm_backward)(elements, d["C"] * d["T"], price)
    if f["process_key"] == "with_opt":
        if f["op_name"] != "sgd":
            return nmc.adam(d["K"], d["FX"], price)
        first = f["optimizer_has_momentum"] and not f["optimizer_has_momentum_buffer"]
        return nmc.sgd(d["K"] + d["FX"], price, f["optimizer_has_momentum"], f["optimizer_has_weight_decay"], first)
    layer = next(
        layer
        for layer in census.synapses()
        if (layer.geometry.channels_in, layer.geometry.channels_out, max(1, layer.geometry.taps))
        == (d["C"], d["K"], d["FY"] * d["FX"])
    )
    weights = layer.geometry.weights
    product = nmc.Product(elements // d["K"], d["C"], d["K"], d["FY"] * d["FX"], layer.outputs, weights, False)
    spikes = f["input_precision_bits"] == 1
    if forward:
        return nmc.forward(replace(product, spikes=spikes), price)
    if f["op_name"].endswith("grad_input"):
        return nmc.backward(replace(product, outputs=layer.input.elements), price)
    return nmc.weight_gradient(replace(product, outputs=weights, weights=layer.outputs, spikes=spikes), price)


def check_trap(golden: Golden) -> None:
    """Real values that happen to be 0 and 1 are no spikes: what is known of an input decides, not what it holds today.

    The rival takes them for spikes: synaptic operations for MACs, event reads for dense ones. The same network on another
    picture would cost another kind of energy. Where the two do not differ for that reason they must agree.
    """
    account = account_of(golden, ("simple-memory",))
    census = account.census
    assert census is not None
    first = next(census.synapses())
    assert first.input.form == "real"
    want = values(golden, "simple")
    bill = SimpleMemory(as_run=True).bill(census)
    assert want["counts/mac"] == 0
    assert bill.counts[first.layer]["mac"] == first.whole > 0
    assert bill.counts[first.layer]["synop"] == 0 < want[f"layers/{first.layer}/synop"]
    assert bill.counts[first.layer]["weight_read"] > want[f"layers/{first.layer}/weight_read_bytes"]
    piecewise, rival = LemairePiecewise(as_run=True).bill(census), values(golden, "lemaire")
    assert piecewise.counts[first.layer]["mac"] == first.whole > rival[f"layers/{first.layer}/mac"] == 0
    for layer in census.synapses():
        if layer is not first:
            for count in ("synop", "mac", "weight_read"):
                theirs = {"weight_read": "weight_read_bytes"}.get(count, count)
                assert bill.counts[layer.layer][count] == want[f"layers/{layer.layer}/{theirs}"]
    check_spikesim_authors(golden, "spikesim_ela", census)  # rate-free: the trap is none


def check_keras(golden: Golden) -> None:
    """Energies from connections and neurons, which follow from the layers, and from the rates of their inputs."""
    network, want = network_of(golden), values(golden, "keras")
    steps = network["timesteps_per_inference"]
    totals = dict.fromkeys(network["devices"], 0.0)
    before = [0]
    for layer in network["layers"]:
        name, shape = layer["name"], layer["output_shape"]
        outputs, inner = _size(shape), layer["inner"]
        connections = 0
        if inner == "Conv2D":
            connections = outputs * _size([0, *layer["kernel_size"]]) * before[-1]
        elif inner == "Dense":
            connections = outputs * before[-1]
        neurons = (
            outputs if layer["keras"] == "SpikingActivation" or layer.get("activation") not in (None, "linear") else 0
        )
        assert (connections, neurons) == (want[f"{name}/connections"], want[f"{name}/neurons"]), name
        events = float(want[f"{name}/rate_hz"]) * network["dt"]
        for device in network["devices"]:
            rule = KerasSpiking(device=device)
            synapses, updates = rule.synapses(connections, events, steps), rule.neurons(neurons, steps)
            near(synapses * 1e-12, want[f"{name}/{device}/synop_J"], f"{name} on {device}")
            near(updates * 1e-12, want[f"{name}/{device}/neuron_J"], f"{name} on {device}")
            totals[device] += (synapses + updates) * 1e-12
        before = shape
    for device, total in totals.items():
        near(total, want[f"total/{device}_J"], device)
    first = network["layers"][0]["name"]
    near(abs(golden.arrays["input"]).mean(dtype="float64"), want[f"{first}/rate_hz"], "rate of the input", 1e-6)


def _size(shape: list[int]) -> int:
    """Elements behind the first axis."""
    total = 1
    for n in shape[1:]:
        total *= n
    return total


def check_spikesim_networks(golden: Golden) -> None:
    """The authors' script on lists of channels."""
    for i, net in enumerate(network_of(golden)["networks"]):
        rule, want = SpikeSim(crossbar=net["xbar"], device=net["device"]), values(golden, f"ela/{i}")
        pJ = [
            net["time_steps"] * rule.tiles(into) * rule.tiles(out) * size**2 * rule.cycle(net["kernel"] ** 2)
            for into, out, size in zip(net["in_ch"], net["out_ch"], net["out_dim"], strict=True)
        ]
        assert pJ == pytest.approx(want["layers_pj"].tolist(), rel=ENERGY)
        near(sum(pJ), want["total_pj"], f"network {i}")


def check_fragments(golden: Golden) -> None:
    """Author totals, with the two terms that the rival lacks; and the rival's, without them."""
    for i, case in enumerate(network_of(golden)["cases"]):
        authors, rival = values(golden, f"neuromc_author/{i}"), values(golden, f"neuromc_rival/{i}")
        near(sum(_author_fragment(case, True).values()), authors["total_pj"], f"author {i}", AUTHOR)
        near(sum(_author_fragment(case, False).values()), rival["total_pj"], f"rival {i}", AUTHOR)


def _author_fragment(case: dict[str, Any], author: bool) -> dict[str, float]:
    d, price = case, NeuroMCSpikingJelly().prices
    if d["phase"] == "we":  # here OY, OX are the kernel and FY, FX the map
        weights = d["C"] * d["K"] * d["OY"] * d["OX"]
        sites = d["B"] * d["T"] * d["FY"] * d["FX"]
        return nmc.weight_gradient(nmc.Product(sites, d["C"], d["K"], d["OY"] * d["OX"], weights, 0, True), price)
    sites, taps = d["B"] * d["T"] * d["OY"] * d["OX"], d["FY"] * d["FX"]
    weights = d["C"] * d["K"] * taps
    if d["phase"] == "fe":
        layer = nmc.forward(nmc.Product(sites, d["C"], d["K"], taps, sites * d["K"], weights, True), price)
        return _sum([layer, nmc.neuron(sites * d["K"], price, author)])
    layer = nmc.backward(nmc.Product(sites, d["C"], d["K"], taps, sites * d["C"], weights, True), price)
    return _sum([layer, nmc.neuron_backward(sites * d["C"], price, author)])


CHECKS: dict[str, Callable[[Golden, str, Any], None]] = {
    "simple": check_simple,
    "lemaire": check_piecewise,
    "qualia": check_authors,
    "spikesim_ela": check_spikesim_authors,
    "spikesim": check_spikesim,
    "neuromc": check_neuromc,
}
NETWORKS = ("ann_twin", "attention", "conv", "linear", "residual")
ADAPTERS = {
    **dict.fromkeys(NETWORKS, check_network),
    "trap_binary_values": check_trap,
    "keras_spiking": check_keras,
    "spikesim_ela": check_spikesim_networks,
    "neuromc_author_fragments": check_fragments,
}
