"""RSC-SNN (arXiv 2407.20099): certificates, rate-coded layers and attacks against the programs that the fixtures came from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.bench.metrics import certificates
from retable.bench.metrics.certified import curve, mean_radius
from retable.bench.tasks.perturb import Perturber
from retable.models.common import backends
from retable.models.rsc_snn.classifier import CodedClassifier
from retable.models.rsc_snn.coding import Coding, poisson, rsc
from retable.models.rsc_snn.network import VGG
from retable.models.rsc_snn.neuron import TriangleNeuron, attacked_neurons
from tests.parity.close import assert_close
from tests.parity.conftest import Golden
from tests.parity.snn_neurons import running

TENSOR = {"rtol": 1e-4, "atol": 1e-5}
EXACT = {"rtol": 1e-9, "atol": 1e-12}


def columns(golden: Golden) -> dict[str, np.ndarray]:
    return dict(zip(golden.config["columns"], golden.arrays["table"].T, strict=True))


def check_certify_table(golden: Golden) -> None:
    table = columns(golden)
    for i in range(len(golden.arrays["table"])):
        classes = golden.arrays["num_classes"][i]
        selection, estimation = (
            golden.arrays[name][i : i + 1, :classes] for name in ("counts_selection", "counts_estimation")
        )
        alpha, sigma = float(table["alpha"][i]), float(table["sigma"][i])
        prediction, radius, p_lower = certificates.certify(
            selection, estimation, alpha=alpha, law="gaussian", sigma=sigma, copies=1
        )
        assert (selection.sum(), estimation.sum()) == (table["n0"][i], table["n"][i])
        assert prediction[0] == table["prediction"][i], f"row {i}"
        np.testing.assert_allclose(p_lower[0], table["p_lower"][i], **EXACT)
        np.testing.assert_allclose(radius[0], table["radius"][i], **EXACT)


def check_predict_table(golden: Golden) -> None:
    _, alphas, wanted, p_values = golden.arrays["table"].T
    for counts, alpha, prediction, p_value in zip(golden.arrays["counts"], alphas, wanted, p_values, strict=True):
        got, p = certificates.predict(counts[None], float(alpha))
        assert got[0] == prediction
        np.testing.assert_allclose(p[0], p_value, **EXACT)


def check_certify_linear(golden: Golden) -> None:
    config, want = golden.config, golden.tensors("")
    counts = {}
    for stage, number in (("selection", config["n0"]), ("estimation", config["n"])):
        noise = want[f"noise_{stage}"]
        assert noise.shape[1] == number
        logits = (want["x"][:, None] + config["sigma"] * noise).flatten(2) @ want["W"].T + want["b"]
        counts[stage] = F.one_hot(logits.argmax(-1), len(want["W"])).sum(1).numpy()
        np.testing.assert_array_equal(counts[stage], golden.arrays[f"counts_{stage}"])
    prediction, radius, _ = certificates.certify(
        counts["selection"],
        counts["estimation"],
        alpha=config["alpha"],
        law="gaussian",
        sigma=config["sigma"],
        copies=1,
    )
    np.testing.assert_array_equal(prediction, golden.arrays["prediction"])
    np.testing.assert_allclose(radius, golden.arrays["radius"], **EXACT)
    right = prediction == golden.arrays["exact_class"]
    assert (radius[right] <= golden.arrays["exact_radius"][right]).all()


def check_bernoulli(golden: Golden) -> None:
    m, alphas, counts, p_lower, naive = golden.arrays["table"].T
    for alpha in np.unique(alphas):
        rows = alphas == alpha
        bound = certificates.lower_bound(counts[rows], m[rows], float(alpha))
        np.testing.assert_allclose(bound, p_lower[rows], **EXACT)
        one_step = certificates.radius(bound, "bernoulli", 0.0, 1)
        np.testing.assert_allclose(one_step, np.maximum(naive[rows], 0), **EXACT)
        np.testing.assert_allclose(certificates.radius(bound, "bernoulli", 0.0, 4), one_step / 4, **EXACT)


def check_certified_accuracy(golden: Golden) -> None:
    arrays, config = golden.arrays, golden.config
    for i in range(len(config["files"])):
        correct, radius = arrays[f"{i}/correct"] == 1, arrays[f"{i}/radius"]
        np.testing.assert_array_equal(correct, arrays[f"{i}/predict"] == arrays[f"{i}/label"])
        shares = curve(correct, radius, arrays["radii"])
        np.testing.assert_allclose(shares, arrays[f"{i}/certified_accuracy"], **EXACT)
        surely = [certificates.surely(share, len(correct), config["alpha"], config["rho"]) for share in shares]
        np.testing.assert_allclose(surely, arrays[f"{i}/certified_accuracy_highprob"], **EXACT)
        np.testing.assert_allclose(mean_radius(correct, radius), arrays[f"{i}/acr"], **EXACT)


def check_lif(golden: Golden) -> None:
    config, want = golden.config, golden.tensors("")
    assert config["thresh"] == 1
    for backend in running():
        neuron = TriangleNeuron(config["tau"], config["gama"])
        x = want["input"].unflatten(0, (config["T"], -1)).clone().requires_grad_()
        through = {"bptt": "bptt", "bptr": "rate"}[config["mode"]]
        with backends.using(backend), attacked_neurons(nn.Sequential(neuron), through, None):
            spikes = neuron(x).flatten(0, 1)
            (spikes * want["outweight"]).sum().backward()
        assert torch.equal(spikes.detach(), want["output"]), f"the spikes differ on {backend}"
        assert_close(x.grad.flatten(0, 1), want["grad/input"], f"grad on {backend}", **TENSOR)


def check_rate_coding(golden: Golden) -> None:
    want = golden.tensors("")
    spikes = want["spikes"].unflatten(0, (golden.config["T"], -1))
    x = want["input"].clone().requires_grad_()
    drawn = torch.where(spikes == 1, x.detach() / 2, (1 + x.detach()) / 2)
    got = poisson(x, drawn)
    assert torch.equal(got.detach(), spikes)
    (got.flatten(0, 1) * want["outweight"]).sum().backward()
    assert_close(x.grad, want["grad/input"], "grad/input", **TENSOR)


def small_snn(golden: Golden) -> CodedClassifier:
    """The fixtures' network by the shapes of its weights."""
    config, state = golden.config, golden.tensors("sd/")
    plan = (len(state["body.0.weight"]), "A", len(state["body.4.weight"]))
    network = VGG(config["cin"], config["size"], config["classes"], config["T"], plan, (config["hidden"],))
    network.load_state_dict(state)
    return CodedClassifier(network, config["cin"], Coding("poisson", config["T"])).eval()


def check_loss(golden: Golden, model: CodedClassifier, z_TBCHW: Tensor) -> None:
    """Logits, loss and the gradients of weights for coded frames."""
    want = golden.tensors("")
    logits_TBK = model.network.steps(z_TBCHW.transpose(0, 1))
    assert_close(logits_TBK, want["logits_per_step"], "logits", **TENSOR)
    loss = F.cross_entropy(logits_TBK.mean(0), want["target"])
    assert_close(loss, want["loss"], "loss", **TENSOR)
    loss.backward()
    parameters = dict(model.network.named_parameters())
    for name, gradient in golden.tensors("grad/").items():
        if name in parameters:
            assert_close(parameters[name].grad, gradient, f"grad/{name}", **TENSOR)


def check_rate_snn(golden: Golden) -> None:
    want = golden.tensors("")
    for backend in running():
        model = small_snn(golden).train(golden.config["training"])
        image = want["image"].clone().requires_grad_()
        z_TBCHW = poisson(image, want["uniform"])
        assert torch.equal(z_TBCHW.detach().flatten(0, 1), want["spikes"])
        z_TBCHW.retain_grad()
        with backends.using(backend):
            check_loss(golden, model, z_TBCHW)
        small = {"rtol": 1e-4, "atol": 1e-7}
        assert_close(z_TBCHW.grad.flatten(0, 1), want["grad/spikes"], "grad/spikes", **small)
        assert_close(image.grad, want["grad/image_straight_through"], "grad/image", **small)
        for name, after in golden.tensors("after/").items():
            assert_close(model.network.state_dict()[name], after, f"after/{name}", **TENSOR)


def check_rsc_snn(golden: Golden) -> None:
    config, want = golden.config, golden.tensors("")
    for backend in running():
        model = small_snn(golden)
        model.mean_C.fill_(config["mean"])
        model.std_C.fill_(config["std"])
        image = want["image"].clone().requires_grad_()
        with backends.using(backend):
            check_loss(golden, model, model.normalised(rsc(image, want["noise"], config["sigma"], config["T"])))
        assert_close(image.grad, want["grad/image"], "grad/image", rtol=1e-4, atol=1e-7)


class SmallNet(nn.Module):
    """The fixtures' deterministic network; each forward pass adds the next entry of `noise` where there is one."""

    def __init__(self, state: dict[str, Tensor], noise: Tensor | None = None) -> None:
        super().__init__()
        out, cin = state["conv.weight"].shape[:2]
        self.conv = nn.Conv2d(cin, out, 3, padding=1)
        self.fc = nn.Linear(state["fc.weight"].shape[1], len(state["fc.weight"]))
        self.load_state_dict(state)
        self.noise = iter(()) if noise is None else iter(noise)

    def forward(self, x: Tensor) -> Tensor:
        x = x + next(self.noise, torch.zeros(()))
        return self.fc(torch.tanh(self.conv(x - 0.5)).flatten(1))


def check_attacks(golden: Golden) -> None:
    want, state = golden.tensors(""), golden.tensors("sd/")
    assert_close(SmallNet(state)(want["x"]), want["logits"], "logits", **TENSOR)
    attacks: dict[str, dict[str, Any]] = dict(golden.config["attacks"])
    for name, options in attacks.items():
        net = SmallNet(state)
        got = Perturber(net, seed=0).last(options["cls"], want["x"], want["y"], **without_class(options))
        compare(got, want[f"adv/{name}"], name)
    options = golden.config["eotpgd"]
    options = {name: value for name, value in options.items() if name != "noise"}
    net = SmallNet(state, want["eot/noise"])
    compare(Perturber(net, seed=0).last("EOTPGD", want["x"], want["y"], **options), want["adv/eotpgd"], "eotpgd")


def without_class(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "cls"}


def compare(got: Tensor, wanted: Tensor, name: str) -> None:
    """All but 0.1 % of the pixels: a gradient near zero may turn its sign."""
    tolerance = 2e-3 if name == "cw" else 1e-5
    apart = ((got - wanted).abs() > tolerance).float().mean()
    assert apart <= 1e-3, f"{name}: {100 * apart:.2f} % of the pixels differ"


ADAPTERS = {
    "attacks": check_attacks,
    "bernoulli_l1_table": check_bernoulli,
    "certified_accuracy": check_certified_accuracy,
    "certify_linear": check_certify_linear,
    "certify_table": check_certify_table,
    "lif_": check_lif,
    "predict_table": check_predict_table,
    "rate_coding": check_rate_coding,
    "rate_snn": check_rate_snn,
    "rsc_snn": check_rsc_snn,
}
