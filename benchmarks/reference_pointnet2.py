"""What most PointNet++ in this field do, to measure against: not ours, and used by nothing but the benchmark.

Farthest points are searched anew at every level in a loop over all points, balls by sorting all indices and taking the
first k in index order, patches are gathered with all their channels before the network, which is convolution, batch
normalization and rectifier; everything in float32. Widths are the predecessor's (four levels).
"""

import torch
from torch import Tensor, nn

LEVELS = (
    (2048, 0.04, 64, (64, 64, 128)),
    (1024, 0.1, 32, (128, 128, 256)),
    (512, 0.2, 32, (128, 128, 256)),
    (128, 0.3, 16, (512, 512)),
)


class ReferencePointNet2(nn.Module):
    """Gives as many tokens as it is asked for; a level takes no more centers than there are points."""

    def __init__(self, num_tokens: int) -> None:
        super().__init__()
        self.levels = [*LEVELS[:-1], (num_tokens, *LEVELS[-1][1:])]
        inputs = [1, *(widths[-1] for *_, widths in LEVELS[:-1])]
        self.networks = nn.ModuleList(
            nn.Sequential(
                *(
                    layer
                    for a, b in zip((3 + c, *widths[:-1]), widths, strict=True)
                    for layer in (nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
                )
            )
            for c, (*_, widths) in zip(inputs, LEVELS, strict=True)
        )

    def forward(self, xyz: Tensor, features: Tensor) -> Tensor:
        """Return the features of the tokens: (b, c, tokens)."""
        batch = torch.arange(len(xyz))[:, None]
        for (count, radius, k, _), network in zip(self.levels, self.networks, strict=True):
            chosen = farthest(xyz, min(count, xyz.shape[1]))
            centers = xyz[batch, chosen]
            index = first_in_ball(centers, xyz, radius, min(k, xyz.shape[1]))
            patch = (xyz[batch[..., None], index] - centers[:, :, None]) / radius
            grouped = torch.cat([patch, features[batch[..., None], index]], dim=-1)
            features = network(grouped.permute(0, 3, 2, 1)).max(2).values.transpose(1, 2)
            xyz = centers
        return features


def farthest(xyz: Tensor, count: int) -> Tensor:
    """Farthest points as in most pure-torch implementations."""
    b, n, _ = xyz.shape
    chosen = torch.zeros(b, count, dtype=torch.long)
    distance, batch = torch.full((b, n), 1e10), torch.arange(b)
    current = torch.zeros(b, dtype=torch.long)
    for i in range(count):
        chosen[:, i] = current
        squared = ((xyz - xyz[batch, current][:, None]) ** 2).sum(-1)
        distance = torch.minimum(distance, squared)
        current = distance.argmax(-1)
    return chosen


def first_in_ball(centers: Tensor, xyz: Tensor, radius: float, k: int) -> Tensor:
    """The first k points within the radius in index order, the first one again where there are fewer."""
    n = xyz.shape[1]
    squared = (
        centers.square().sum(-1)[..., None]
        + xyz.square().sum(-1)[:, None]
        - 2 * centers @ xyz.transpose(1, 2)
    )
    index = torch.arange(n).expand(squared.shape).clone()
    index[squared > radius**2] = n
    index = index.sort(-1).values[..., :k]
    first = index[..., :1].clamp(max=n - 1)
    return torch.where(index == n, first, index)
