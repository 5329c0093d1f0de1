"""The whole detector, its loss, its geometry and suppression against the released code, in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from retable.models.spikeyolo import boxes
from retable.models.spikeyolo.assigner import Targets, assign
from retable.models.spikeyolo.head import REG_MAX, STRIDES, Detect
from retable.models.spikeyolo.layers import NeuronKind, neuron_of
from retable.models.spikeyolo.loss import BOX, CLS, DFL, detection_loss
from retable.models.spikeyolo.network import Rows, spikeyolo
from retable.models.spikeyolo.sizes import Size
from retable.models.spikeyolo.suppression import suppressed
from retable.models.spikeyolo.virtual import to_virtual_steps
from retable.models.spiking.neurons import ILIF
from tests.parity.close import assert_close
from tests.parity.conftest import Golden

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
PIXELS = {"rtol": 1e-5, "atol": 5e-4}


def network(golden: Golden, kind: NeuronKind, T: int, D: int) -> Rows:
    config = golden.config
    size = Size(config["depth"], config["width"], config.get("max_channels", 1024), config.get("p5_mlp_ratio", 1))
    net = spikeyolo(size, config["nc"], 3, T, neuron_of(kind, D))
    state = {key: value for key, value in net.state_dict().items() if key.endswith("num_batches_tracked")}
    net.load_state_dict(state | golden.tensors("sd/"))
    return net.double()


def check_tiny(golden: Golden) -> None:
    want, config = golden.tensors(""), golden.config
    for T, D in config["TD"]:
        case = f"T{T}_D{D}"
        net = network(golden, "ilif", T, D).eval()
        check_outputs(net, want["in/x"].double(), want, case, config)
        if f"out/{case}/nms0" in want:
            check_detections(net, golden, case)
            check_forms(net, want["in/x"].double())
    check_training(golden)


def check_gen1(golden: Golden) -> None:
    want = golden.tensors("")
    for T in golden.config["Ts"]:
        net = network(golden, "ilif-gen1", T, 4).eval()
        check_outputs(net, want[f"in/x_T{T}"].double(), want, f"T{T}", golden.config)
        check_forms(net, want[f"in/x_T{T}"].double())


@torch.no_grad()
def check_outputs(net: Rows, x: Tensor, want: dict[str, Tensor], case: str, config: dict[str, Any]) -> None:
    rates: dict[str, float] = {}
    rows: dict[str, Tensor] = {}

    def note(name: str, kept: Any, value: Any) -> Any:
        return lambda module, args, output: kept.__setitem__(name, value(output))

    hooks = [
        module.register_forward_hook(note(name, rates, lambda out: float(out.mean())))
        for name, module in net.named_modules()
        if isinstance(module, ILIF)
    ]
    hooks += [
        net.model[int(key.rpartition("layer")[2])].register_forward_hook(note(key, rows, lambda out: out))
        for key in want
        if key.startswith(f"out/{case}/layer")
    ]
    maps = net(x)
    for hook in hooks:
        hook.remove()
    for i, raw in enumerate(maps):
        assert_close(raw, want[f"out/{case}/raw{i}"].double(), f"{case} map {i}", **TOLERANCE)
    assert_close(net.head.decoded(maps), want[f"out/{case}/pred"].double(), f"{case} boxes", **PIXELS)
    for key, row in rows.items():
        assert_close(row, want[key].double(), key, **TOLERANCE)
    names = list(config["rate_names"])
    assert set(names) == set(rates), "the neurons are others than those of the released code"
    got = torch.tensor([rates[name] for name in names], dtype=torch.float64)
    assert_close(got, want[f"out/{case}/rates"], f"{case} rates", rtol=0, atol=1e-9)


@torch.no_grad()
def check_detections(net: Rows, golden: Golden, case: str) -> None:
    want, options = golden.tensors("")["in/x"].double(), golden.config["nms"]
    decoded = net.head.decoded(net(want))
    check_kept(golden, decoded, options, f"out/{case}/nms")


def check_kept(golden: Golden, decoded: Tensor, options: dict[str, Any], prefix: str) -> None:
    found = suppressed(decoded, options["conf"], options["iou"], options["max_det"], options["multi_label"])
    for i, parts in enumerate(found):
        rows = golden.tensors("")[f"{prefix}{i}"].to(decoded.dtype)
        got = torch.cat((parts[0], parts[1][:, None], parts[2][:, None].to(decoded.dtype)), 1)
        assert got.shape == rows.shape, f"image {i}: {len(got)} boxes are kept, not {len(rows)}"
        assert_close(got[:, :4], rows[:, :4], f"boxes of image {i}", **PIXELS)
        assert_close(got[:, 4:], rows[:, 4:], f"scores and classes of image {i}", **TOLERANCE)


@torch.no_grad()
def check_forms(net: Rows, x: Tensor) -> None:
    """Merged, then with binary steps: the same maps."""
    want = net(x)
    net.merge()
    merged = net(x)
    to_virtual_steps(net)
    for maps, form in ((merged, "merged"), (net(x), "with binary steps")):
        for got, expected in zip(maps, want, strict=True):
            assert_close(got, expected, form, **TOLERANCE)


def check_training(golden: Golden) -> None:
    want, config = golden.tensors(""), golden.config
    assert tuple(config["gains"][name] for name in ("box", "cls", "dfl")) == (BOX, CLS, DFL)
    assert list(STRIDES) == config["strides"]
    net = network(golden, "ilif", *config["trainTD"]).train()
    maps = net(want["in/x"].double())
    for i, raw in enumerate(maps):
        assert_close(raw, want[f"train/raw{i}"].double(), f"training map {i}", **TOLERANCE)
    total, items = detection_loss(net.head, maps, targets(golden, *config["image_hw"], config["batch"]))
    assert_close(total, want["train/loss_total"].double(), "loss", rtol=1e-5, atol=1e-5)
    assert_close(items, want["train/loss_items"].double(), "loss items", rtol=1e-5, atol=1e-5)
    total.backward()
    parameters = dict(net.named_parameters())
    for name, norm in zip(config["grad_names"], want["train/grad_norms"].tolist(), strict=True):
        gradient = parameters[name].grad
        assert gradient is not None, name
        assert abs(float(gradient.norm()) - norm) <= 1e-4 * max(norm, 1e-3), f"norm of the gradient of {name}"
    for key, gradient in golden.tensors("train/grad/").items():
        scale = max(1.0, float(gradient.abs().max()))
        assert_close(parameters[key].grad, gradient.double(), f"gradient of {key}", rtol=1e-4, atol=1e-5 * scale)
    for key, after in golden.tensors("train/bn_after/").items():
        assert_close(net.state_dict()[key], after.double(), f"{key} after a step", **TOLERANCE)


def targets(golden: Golden, H: int, W: int, batch: int) -> Targets:
    """From normalised centres and sizes, as the fixtures hold them."""
    arrays = golden.tensors("in/")
    index, classes = arrays["batch_idx"], arrays["cls"]
    pixels = boxes.from_centre(arrays["bboxes"].double()) * torch.tensor([W, H, W, H])
    M = max(1, int(index.bincount(minlength=batch).max()))
    found = Targets(
        torch.zeros(batch, M, dtype=torch.long), torch.zeros(batch, M, 4).double(), torch.zeros(batch, M).bool()
    )
    for b in range(batch):
        n = int((index == b).sum())
        found.classes_BM[b, :n], found.boxes_BM4[b, :n], found.valid_BM[b, :n] = (
            classes[index == b],
            pixels[index == b],
            True,
        )
    return found


def check_loss(golden: Golden) -> None:
    want, config = golden.tensors(""), golden.config
    head = Detect(config["nc"], (8, 8, 8), lambda *_: nn.Identity(), lambda *_: nn.Identity())
    assert config["reg_max"] == REG_MAX
    maps = [want[f"in/feat{i}"].double().requires_grad_() for i in range(len(config["strides"]))]
    given = targets(golden, *config["image_hw"], config["batch"])
    check_assigned(head, maps, given, want)
    total, items = detection_loss(head, maps, given)
    assert_close(total, want["out/loss_total"].double(), "loss", **TOLERANCE)
    assert_close(items, want["out/loss_items"].double(), "loss items", **TOLERANCE)
    total.backward()
    for i, each in enumerate(maps):
        gradient = want[f"grad/feat{i}"].double()
        scale = max(1.0, float(gradient.abs().max()))
        assert_close(each.grad, gradient, f"gradient of map {i}", rtol=1e-5, atol=1e-5 * scale)


def check_assigned(head: Detect, maps: list[Tensor], given: Targets, want: dict[str, Tensor]) -> None:
    found = head.predicted(maps)
    pixels = found.boxes_BA4.detach() * found.stride_A1
    assigned = assign(found.logits_BAK.detach().sigmoid(), pixels, found.centres_A2 * found.stride_A1, given)
    assert_close(assigned.scores_BAK, want["out/target_scores"].double(), "soft labels", **TOLERANCE)
    scored = want["out/target_scores"].sum(-1) > 0
    assert bool(assigned.chosen_BA[scored].all())
    assert bool((want["out/fg_mask"][scored] == 1).all())
    assert_close(assigned.boxes_BA4[scored], want["out/target_bboxes"].double()[scored], "target boxes", **PIXELS)


def check_geometry(golden: Golden) -> None:
    want = golden.tensors("")
    a, b = want["in/a"].clone().requires_grad_(), want["in/b"]
    complete = boxes.iou(a, b, complete=True)
    assert_close(complete[:, None], want["out/ciou"], "CIoU", rtol=1e-5, atol=1e-6)
    assert_close(boxes.iou(a, b)[:, None], want["out/iou"], "IoU", rtol=1e-5, atol=1e-6)
    complete.sum().backward()
    assert_close(a.grad, want["grad/a"], "gradient of CIoU", rtol=1e-4, atol=1e-6)
    check_anchors(want)
    points, box = want["out/anchors"], want["in/box_grid"]
    sides = boxes.to_sides(box, points, REG_MAX - 1 - 0.01)
    assert_close(sides, want["out/dist"], "distances", rtol=1e-5, atol=1e-5)
    back = boxes.from_sides(want["out/dist"], points)
    assert_close(back, want["out/back_xyxy"], "boxes of the distances", rtol=1e-5, atol=1e-5)
    assert_close(boxes.to_centre(back), want["out/back_xywh"], "their centres", rtol=1e-5, atol=1e-5)


def check_anchors(want: dict[str, Tensor]) -> None:
    """The sides of the levels are what the points of each stride reach."""
    points, strides = want["out/anchors"], want["out/anchor_strides"][:, 0]
    sides, levels = [], strides.unique(sorted=True).tolist()
    for stride in levels:
        last = points[strides == stride].amax(0)
        sides.append((int(last[1] + 0.5), int(last[0] + 0.5)))
    got, widths = boxes.anchors(sides, [int(stride) for stride in levels], points)
    assert torch.equal(got, points)
    assert torch.equal(widths[:, 0], strides)


def check_suppression(golden: Golden) -> None:
    check_kept(golden, golden.tensors("")["in/pred"], golden.config, "out/det")


ADAPTERS = {
    "tiny_model": check_tiny,
    "gen1_tiny_model": check_gen1,
    "loss": check_loss,
    "box_geometry": check_geometry,
    "nms": check_suppression,
}
