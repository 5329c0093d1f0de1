"""A method of one's own. Its fields are parameters: a suite sets them under `with:`, a command by `--set`."""

from dataclasses import dataclass

from retable import register


@register("method", "my-name")
@dataclass(frozen=True, kw_only=True)
class MyName:
    """Names the class whose mean image is nearest."""

    sharpness: float = 1.0

    def build(self, images):
        """The module with any weights; `images.image_shape` is (C, H, W)."""
        import torch

        class Net(torch.nn.Linear):
            def prepare(self, pixels):
                """uint8 (B, C, H, W) -> what the net takes."""
                return pixels.flatten(1) / 255

            def steps(self, x):
                """Logits (T, B, K); a net without time has one step."""
                return self(x)[None]

        channels, height, width = images.image_shape
        return Net(channels * height * width, images.num_classes)

    def fit(self, data, needs, *, seed, device):
        """(fitted module, log); what is drawn at random is drawn from `seed`."""
        import numpy as np
        import torch

        net, train = self.build(data), data.train
        chosen = np.random.default_rng(seed).permutation(len(train))[: len(train) // 2]
        x, labels = net.prepare(torch.from_numpy(train.images(chosen))), torch.from_numpy(train.labels[chosen])
        means = torch.stack([x[labels == k].mean(0) for k in range(data.num_classes)])
        net.weight.data, net.bias.data = self.sharpness * means, -self.sharpness * means.square().sum(1) / 2
        return net, {"images": len(chosen)}

    def load(self, state, data, needs, *, device):
        """The module that stored weights came from."""
        net = self.build(data)
        net.load_state_dict(state)
        return net
