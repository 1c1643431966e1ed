"""What a decoder and a discriminator learn from each other."""

import torch

from randar_core.training.discriminator import PatchDiscriminator, adversarial_losses
from randar_core.training.reconstruction import reconstruction_loss


def test_one_backward_pass_gives_each_its_own_gradient():
    torch.manual_seed(0)
    discriminator, pixels = PatchDiscriminator().double().eval(), torch.rand(2, 3, 32, 32).double()
    decoded = torch.rand(2, 3, 32, 32).double().requires_grad_()
    reconstruction = reconstruction_loss(decoded, pixels, 1.0)
    decoders, hinge, told = adversarial_losses(discriminator, decoded, pixels, reconstruction)
    assert 0 <= told <= 1
    ours = torch.autograd.grad(decoders + hinge, [decoded, *discriminator.parameters()], retain_graph=True)

    (towards_pixels,) = torch.autograd.grad(reconstruction, decoded)
    (towards_real,) = torch.autograd.grad(-discriminator(decoded).mean(), decoded)
    torch.testing.assert_close(ours[0], towards_real * towards_pixels.norm() / towards_real.norm())
    apart = (1 - discriminator(pixels)).relu().mean() + (1 + discriminator(decoded.detach())).relu().mean()
    torch.testing.assert_close(list(ours[1:]), list(torch.autograd.grad(apart, list(discriminator.parameters()))))
