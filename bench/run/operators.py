"""Operators whose bits tell whether two machines compute alike: some hundred small calculations on fixed inputs.

Inputs come from integer arithmetic alone. Shapes are chosen for the paths that libraries take by size: blocked and plain
matrix products, convolutions of one image and of many, vectors longer than a vector unit and their ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from retable.bench.registry import trials

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Calculation = Callable[[], Any]
"""Nested lists and tuples of arrays and tensors."""


def operators() -> dict[str, Calculation]:
    """All calculations by name; each can be called by itself, in any order."""
    torch_groups = (_products, _convolutions, _networks, _pointwise, _orders, _decompositions, _draws, _optimisers)
    found: dict[str, Calculation] = {}
    for group in (*torch_groups, _numpy, _scipy):
        found |= group()
    return found | trials().trials(tensor, with_gradients)


def values(*shape: int, salt: int = 0) -> np.ndarray[Any, Any]:
    """Numbers in [-1, 1) that look random, exact in single precision: a mixed counter with 23 bits kept."""
    import numpy as np

    mixed = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) + np.uint64(salt << 32)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return ((mixed >> np.uint64(40)).astype(np.float64) / 2**23 - 1).reshape(shape)


def tensor(*shape: int, salt: int = 0) -> Tensor:
    """`values` in single precision."""
    import torch

    return torch.from_numpy(values(*shape, salt=salt)).float()


def with_gradients(function: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """The result, and the gradients of all inputs that a fixed gradient of the result gives."""
    leaves = [value.detach().clone().requires_grad_() for value in inputs]
    result = function(*leaves)
    result.backward(tensor(*result.shape, salt=99))
    return [result.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def _products() -> dict[str, Calculation]:
    import torch
    from torch.nn import functional as F

    small, long, large = (96, 160, 80), (8, 3000, 24), (256, 512, 256)
    found: dict[str, Calculation] = {
        f"matmul {m}x{k}x{n}": partial(lambda m, k, n: tensor(m, k) @ tensor(k, n, salt=1), m, k, n)
        for m, k, n in (small, long, large)
    }
    return found | {
        "matmul float64": lambda: tensor(96, 160).double() @ tensor(160, 80, salt=1).double(),
        "matmul of a transpose": lambda: tensor(300, 70).T @ tensor(300, 50, salt=1),
        "matmul with a transpose": lambda: tensor(70, 300) @ tensor(50, 300, salt=1).T,
        "matrix times vector": lambda: tensor(200, 333) @ tensor(333, salt=1),
        "dot": lambda: torch.dot(tensor(5000), tensor(5000, salt=1)),
        "bmm": lambda: torch.bmm(tensor(12, 40, 64), tensor(12, 64, 40, salt=1)),
        "bmm with transposes": lambda: tensor(12, 64, 40).mT @ tensor(12, 40, 64, salt=1).mT,
        "matmul in four dimensions": lambda: tensor(4, 8, 16, 8) @ tensor(4, 8, 8, 16, salt=1),
        "einsum": lambda: torch.einsum("bchn,bhpn->bchp", tensor(3, 9, 4, 32), tensor(3, 4, 16, 32, salt=1)),
        "linear": lambda: with_gradients(F.linear, tensor(72, 5, 48), tensor(130, 48, salt=1), tensor(130, salt=2)),
        "vecdot": lambda: torch.linalg.vecdot(tensor(40, 300), tensor(40, 300, salt=1)),
        "attention": lambda: with_gradients(
            partial(F.scaled_dot_product_attention, is_causal=True),
            *(tensor(2, 4, 130, 16, salt=salt) for salt in range(3)),
        ),
    }


def _convolutions() -> dict[str, Calculation]:
    from torch.nn import functional as F

    def conv(x: tuple[int, ...], w: tuple[int, ...], **options: Any) -> Calculation:
        function = {3: F.conv1d, 4: F.conv2d}[len(x)]
        arguments = tensor(*x), tensor(*w, salt=1), tensor(w[0], salt=2)
        return lambda: with_gradients(lambda x, w, b: function(x, w, b, **options), *arguments)

    return {
        "conv 3x3": conv((16, 16, 16, 16), (32, 16, 3, 3), padding=1),
        "conv 3x3 of one channel": conv((128, 1, 16, 16), (8, 1, 3, 3), padding=1),
        "conv 3x3 of three channels": conv((16, 3, 32, 32), (16, 3, 3, 3), padding=1),
        "conv 3x3 of many channels": conv((2, 128, 6, 6), (96, 128, 3, 3), padding=1),
        "conv 3x3 in strides": conv((32, 16, 16, 16), (32, 16, 3, 3), stride=2, padding=1),
        "conv 3x3 of one image": conv((1, 8, 12, 12), (8, 8, 3, 3), padding=1),
        "conv 3x3 of odd sizes": conv((5, 7, 13, 11), (13, 7, 3, 3), padding=1),
        "conv 1x1": conv((32, 24, 16, 16), (48, 24, 1, 1)),
        "conv 1x1 of many channels": conv((2, 512, 4, 4), (256, 512, 1, 1)),
        "conv 1x1 in strides": conv((32, 24, 16, 16), (48, 24, 1, 1), stride=2),
        "conv 7x7": conv((8, 3, 32, 32), (16, 3, 7, 7), stride=2, padding=3),
        "conv dilated": conv((8, 16, 20, 20), (16, 16, 3, 3), padding=2, dilation=2),
        "conv grouped": conv((8, 32, 16, 16), (32, 8, 3, 3), padding=1, groups=4),
        "conv depthwise 3x3": conv((16, 32, 16, 16), (32, 1, 3, 3), padding=1, groups=32),
        "conv depthwise 5x5": conv((8, 24, 16, 16), (24, 1, 5, 5), padding=2, groups=24),
        "conv1d": conv((8, 16, 100), (32, 16, 3), padding=1),
        "conv1d 1x1": conv((128, 32, 16), (64, 32, 1)),
        "conv1d depthwise": conv((8, 32, 100), (32, 1, 4), padding=3, groups=32),
        "conv transposed": lambda: with_gradients(
            partial(F.conv_transpose2d, stride=2), tensor(8, 32, 8, 8), tensor(32, 16, 2, 2, salt=1)
        ),
    }


def _networks() -> dict[str, Calculation]:
    import torch
    from torch.nn import functional as F

    image, rows, w, b = tensor(8, 24, 9, 9), tensor(70, 96), tensor(96, salt=1), tensor(96, salt=2)
    classes = torch.arange(70) * 7 % 96

    def batch_norm(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.batch_norm(x, torch.zeros(24), torch.ones(24), w, b, training=True)

    return {
        "batch norm": lambda: with_gradients(batch_norm, image, w[:24], b[:24]),
        "batch norm at rest": lambda: F.batch_norm(image, w[:24], w[:24].abs() + 0.5, w[:24], b[:24]),
        "layer norm": lambda: with_gradients(lambda x, w, b: F.layer_norm(x, (96,), w, b), rows, w, b),
        "group norm": lambda: with_gradients(lambda x, w, b: F.group_norm(x, 4, w, b), image, w[:24], b[:24]),
        "rms norm": lambda: with_gradients(lambda x, w: F.rms_norm(x, (96,), w), rows, w),
        "softmax": lambda: with_gradients(partial(F.softmax, dim=-1), rows * 5),
        "log softmax": lambda: with_gradients(partial(F.log_softmax, dim=-1), rows * 5),
        "cross entropy": lambda: with_gradients(lambda x: F.cross_entropy(x, classes, label_smoothing=0.1), rows * 5),
        "binary cross entropy": lambda: with_gradients(
            lambda x: F.binary_cross_entropy_with_logits(x, rows.abs()), rows.flip(0)
        ),
        "embedding": lambda: with_gradients(lambda w: F.embedding(classes % 13, w), rows),
        "max pool": lambda: with_gradients(lambda x: F.max_pool2d(x, 2), image),
        "average pool": lambda: with_gradients(lambda x: F.avg_pool2d(x, 2), image),
        "adaptive pool": lambda: with_gradients(lambda x: F.adaptive_avg_pool2d(x, 4), image),
        "interpolate bilinear": lambda: with_gradients(
            lambda x: F.interpolate(x, size=(13, 21), mode="bilinear", align_corners=False), image
        ),
        "interpolate antialiased": lambda: F.interpolate(image, size=(5, 7), mode="bicubic", antialias=True),
    }


def _pointwise() -> dict[str, Calculation]:
    import torch
    from torch.nn import functional as F

    x = tensor(4099) * 8
    functions: Mapping[str, Callable[[Tensor], Tensor]] = {
        **{name: getattr(torch, name) for name in ("exp", "expm1", "erf", "sin", "cos", "tanh", "sigmoid", "atan")},
        **{name: getattr(F, name) for name in ("gelu", "silu", "softplus", "leaky_relu", "mish")},
        **{name: partial(_of_positive, getattr(torch, name)) for name in ("log", "log10", "log1p", "sqrt", "rsqrt")},
        "gelu by tanh": partial(F.gelu, approximate="tanh"),
        "power": lambda x: (x.abs() + 0.01) ** 1.7,
        **{name: partial(_of_small, getattr(torch, name)) for name in ("asin", "acos", "tan")},
        "inverse error function": lambda x: torch.erfinv(x / 16),
    }
    found: dict[str, Calculation] = {name: partial(with_gradients, function, x) for name, function in functions.items()}
    return found | {
        "exp float64": lambda: torch.exp(x.double()),
        "log float64": lambda: torch.log(x.double().abs() + 0.01),
        "addcmul": lambda: torch.addcmul(x, x.flip(0), x.roll(7), value=0.3),
        "polar": lambda: torch.view_as_real(torch.polar(torch.ones_like(x), x)),
    }


def _of_positive(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return function(x.abs() + 1 / 64)


def _of_small(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return function(x / 16)


def _orders() -> dict[str, Calculation]:
    import torch

    x = tensor(37, 1031)
    return {
        "sum": lambda: [x.sum(), x.sum(0), x.sum(1)],
        "mean and variance": lambda: [*torch.var_mean(x, 1), *torch.var_mean(x, 0), x.mean()],
        "norm": lambda: [torch.linalg.vector_norm(x), torch.linalg.vector_norm(x, dim=1)],
        "log sum of exponentials": lambda: torch.logsumexp(x * 5, 1),
        "cumulative sum": lambda: [torch.cumsum(x, 1), torch.cumsum(x, 0)],
        "cumulative product": lambda: torch.cumprod(1 + x / 16, 1),
        "sort": lambda: torch.sort((x * 64).round(), stable=True),
        "sort, unstable": lambda: torch.sort((x * 64).round()),
        "top k": lambda: torch.topk((x * 64).round(), 20),
        "fft": lambda: [torch.view_as_real(torch.fft.fft(x)), torch.view_as_real(torch.fft.rfft2(x[:, :210]))],
    }


def _decompositions() -> dict[str, Calculation]:
    import torch

    a = tensor(48, 48)
    positive = a @ a.T / 48 + torch.eye(48)
    return {
        "cholesky": lambda: torch.linalg.cholesky(positive),
        "inverse by cholesky": lambda: torch.cholesky_inverse(torch.linalg.cholesky(positive)),
        "solve": lambda: torch.linalg.solve(positive, a),
        "singular values": lambda: torch.linalg.svdvals(a),
        "eigenvalues": lambda: torch.linalg.eigvalsh(positive.double()),
    }


def _draws() -> dict[str, Calculation]:
    import torch

    def drawn(draw: Callable[[torch.Generator], Any]) -> Calculation:
        return lambda: draw(torch.Generator().manual_seed(20))

    return {
        "uniform draws": drawn(lambda g: torch.rand(1003, generator=g)),
        "normal draws": drawn(lambda g: [torch.randn(1003, generator=g), torch.randn(7, generator=g)]),
        "permutation": drawn(lambda g: torch.randperm(1003, generator=g)),
        "multinomial draws": drawn(
            lambda g: [torch.multinomial(tensor(8, 50).abs(), n, n > 1, generator=g) for n in (1, 20)]
        ),
        "exponential draws": drawn(
            lambda g: [
                torch.empty(5003, dtype=kind).exponential_(generator=g) for kind in (torch.float32, torch.float64)
            ]
        ),
        "dropout": lambda: [torch.manual_seed(20), torch.dropout(tensor(5003), 0.3, True)][1],
        "bernoulli draws": drawn(lambda g: torch.bernoulli(tensor(1003).abs(), generator=g)),
        "truncated normal draws": drawn(lambda g: torch.nn.init.trunc_normal_(torch.empty(1003), generator=g)),
    }


def _optimisers() -> dict[str, Calculation]:
    import torch

    def steps(make: Callable[[Iterable[Any]], torch.optim.Optimizer]) -> list[Tensor]:
        weights = [torch.nn.Parameter(tensor(41, 53)), torch.nn.Parameter(tensor(53, salt=1))]
        optimiser = make(weights)
        for step in range(5):
            for weight in weights:
                weight.grad = tensor(*weight.shape, salt=10 + step)
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
        return [weight.detach() for weight in weights]

    return {
        "AdamW": lambda: steps(partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.05)),
        "AdamW, fused": lambda: steps(partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.05, fused=True)),
        "SGD with momentum": lambda: steps(partial(torch.optim.SGD, lr=1e-2, momentum=0.9, nesterov=True)),
    }


def _numpy() -> dict[str, Calculation]:
    import numpy as np

    single, double = (values(4099) * 8).astype(np.float32), values(4099) * 8
    a, b = values(90, 150), values(150, 70, salt=1)
    positive = a @ a.T
    names = ("exp", "expm1", "sin", "cos", "tanh", "arctan", "cbrt")
    positives = ("log", "log1p", "log2", "sqrt")
    return {
        "numpy functions, float32": lambda: [
            *(getattr(np, name)(single) for name in names),
            *(getattr(np, name)(np.abs(single) + np.float32(0.01)) for name in positives),
        ],
        "numpy functions, float64": lambda: [
            *(getattr(np, name)(double) for name in names),
            *(getattr(np, name)(np.abs(double) + 0.01) for name in positives),
        ],
        "numpy power and hypot": lambda: [np.abs(double) ** 1.7, np.hypot(double, single), np.arctan2(double, 2.0)],
        "numpy sums": lambda: [single.sum(), double.mean(), a.sum(0), a.std(1), np.cumsum(single), np.cov(a)],
        "numpy products": lambda: [a @ b, a.astype(np.float32) @ b.astype(np.float32), a @ a[0], a[0] @ a[1]],
        "numpy einsum": lambda: np.einsum("ij,jk->ik", a, b),
        "numpy eigenvectors": lambda: np.linalg.eigh(positive),
        "numpy singular values": lambda: np.linalg.svd(a),
        "numpy solve": lambda: np.linalg.solve(positive + np.eye(90), a),
        "numpy fft": lambda: np.fft.fft(double).view(np.float64),
        "numpy sort": lambda: [np.sort(single), np.argsort(np.rint(double)), np.partition(double, 100)],
        "numpy quantiles": lambda: [np.quantile(double, [0.1, 0.5, 0.9]), np.median(a, 0)],
        "numpy draws": lambda: [
            (generator := np.random.default_rng(20)).standard_normal(1003),
            generator.poisson(3.0, 1003),
            generator.gamma(2.0, size=103),
        ],
    }


def _scipy() -> dict[str, Calculation]:
    import numpy as np
    from scipy import linalg, special, stats

    a = values(40, 40)
    share = (values(300) + 1) / 2
    return {
        "scipy square root of a matrix": lambda: np.asarray(linalg.sqrtm(a @ a.T + np.eye(40))),
        "scipy special functions": lambda: [special.ndtri(share), special.betaincinv(3.0, 5.0, share), special.erf(a)],
        "scipy noncentral t": lambda: special.nctdtr(np.arange(2.0, 32), 1.5, values(30) * 3),
        "scipy binomial tails": lambda: stats.binom.sf(np.arange(60), 100, share[0]),
        "scipy rank correlation": lambda: np.array(stats.spearmanr(share, values(300, salt=1))),
    }
