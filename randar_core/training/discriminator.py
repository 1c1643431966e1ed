"""A network that tells real pixels from decoded ones, so that a decoder learns sharp edges, not their average.

A patch discriminator (arXiv 1611.07004, section 3.2.2) with the hinge loss, whose weight follows the gradients, as
VQGAN's does (arXiv 2012.09841, equations 6 and 7).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..runtime.distributed import sum_over_processes

WIDTHS = (32, 64, 128)  # channels after each halving of the sides


class PatchDiscriminator(nn.Module):
    """pixels `[B, 3, H, W]` in 0…1 -> `[B, 1, h, w]`, above 0 where a patch looks real.

    A patch is 22 pixels a side, enough for an edge and what lies on both sides of it. Nothing normalises its weights:
    with spectral norms it learnt to tell soft edges from sharp ones three times as slowly, too slowly for the decoder.
    What it may do to the decoder is bounded by the weight of its gradient instead, see `adversarial_losses`.
    """

    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = []
        for wide_in, wide in zip((3, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv2d(wide_in, wide, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(WIDTHS[-1], 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(2 * pixels - 1)


def adversarial_losses(
    discriminator: PatchDiscriminator, decoded: Tensor, pixels: Tensor, reconstruction: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The losses by which decoder and discriminator learn from each other, for one backward pass.

    decoded, pixels: `[B, 3, H, W]`.
    reconstruction: a scalar loss of `decoded`, whose gradient says how much the decoder's share may weigh.

    Returns three scalars: the decoder's loss, whose gradient at `decoded` is as long as that of `reconstruction` and
    reaches no weight of the discriminator; the discriminator's loss, whose gradient doesn't reach `decoded`; and the
    share of patches, real and decoded, that it takes for what they are.
    """
    fake = decoded.detach().requires_grad_()
    of_fake, of_real = discriminator(fake).float(), discriminator(pixels).float()
    (towards_real,) = torch.autograd.grad(-of_fake.mean(), fake, retain_graph=True)
    (towards_pixels,) = torch.autograd.grad(reconstruction, decoded, retain_graph=True)
    lengths = sum_over_processes(torch.stack([towards_pixels.square().sum(), towards_real.square().sum()]))
    weight = (lengths[0] / lengths[1].clamp(min=1e-24)).sqrt()
    # Its value is 0; its gradient at `decoded` is `towards_real`, `weight` times.
    decoders = weight * (towards_real * (decoded - fake.detach())).sum()
    hinge = F.relu(1 - of_real).mean() + F.relu(1 + of_fake).mean()
    accuracy = ((of_real > 0).float().mean() + (of_fake <= 0).float().mean()) / 2
    return decoders, hinge, accuracy.detach()
