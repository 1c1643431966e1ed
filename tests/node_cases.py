"""Every node that draws or reads, with inputs for tiny models, as cases for a host on any device: `CASES` by name."""

from collections.abc import Callable
from unittest import mock

import torch
from node_pack import CLASSES, Pack, tiny_bundle
from torch import Tensor

COMMON = {"seed": 1, "steps": 4, "cfg": 2.0}
FAMILIES = {  # module, configuration, kinds of layers
    "RandAR": ("randar", "RandARConfig", 1),
    "RAR": ("rar", "RARConfig", 1),
    "LPD": ("lpd", "LPDConfig", 1),
    "ARPG": ("arpg", "ARPGConfig", 2),
}
SIZE = {"width": 32, "codebook_size": 32, "classes": len(CLASSES), "grid": 4, "heads": 4}


def save_families(
    pack: Pack, size: dict = SIZE, mlp_width: int = 64, tokenizer: dict | None = None, layers: int = 1
) -> None:
    """A bundle for each family in the models folder.

    size: fields of all transformers' configurations.
    mlp_width: of RAR.
    tokenizer: fields of LlamaGen's configuration; None: the tokenizer of the tiny bundle.
    layers: of each kind. RAR has one in any case, since each layer of it takes long: it draws one cell a call.
    """
    path = tiny_bundle(pack)
    checkpoints = {name: pack.module(f"randar_core.checkpoints.{name}") for name in ("bundle", "model", "releases")}
    whole = checkpoints["model"].load_model(path)
    coder = whole.tokenizer
    if tokenizer is not None:
        llamagen = pack.module("randar_core.models.llamagen")
        coder = llamagen.LlamaGenTokenizer(llamagen.LlamaGenConfig(codebook_size=size["codebook_size"], **tokenizer))
        randomise(coder)
    for network, (module, config, kinds) in FAMILIES.items():
        family = pack.module(f"randar_core.models.{module}")
        own = {"layers": kinds, "mlp_width": mlp_width} if network == "RAR" else {"layers": kinds * layers}
        transformer = getattr(family, network)(getattr(family, config)(**size, **own))
        randomise(transformer)
        defaults = checkpoints["releases"].Defaults(guidance=2.0, order=transformer.traits.order)
        target = pack.models / f"{network}.safetensors"
        checkpoints["bundle"].save_bundle(target, transformer, coder, whole.class_names, defaults)


def randomise(network: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2 if parameter.ndim > 1 else 1, generator)


class Desk:
    """A loaded model, and what its nodes are given: inputs lie where the host keeps what goes from node to node."""

    def __init__(self, pack: Pack, family: str):
        self.pack = pack
        self.model, self.vae = pack.run("RandARLoadModel", model_name=f"{family}.safetensors", weight_dtype="fp32")

    def run(self, node_id: str, **inputs) -> tuple:
        return self.pack.run(node_id, **inputs)

    def place(self, tensor: Tensor) -> Tensor:
        import comfy.model_management

        return tensor.to(comfy.model_management.intermediate_device())

    def random(self, *shape: int) -> Tensor:
        return self.place(torch.rand(*shape, generator=torch.Generator().manual_seed(2)))

    def mask(self, height: int, width: int) -> Tensor:
        mask = torch.zeros(1, height, width)
        mask[:, 4:14, 6:20] = 1
        return self.place(mask)

    def latent(self, *shape: int, **more) -> dict:
        ids = torch.randint(32, shape, generator=torch.Generator().manual_seed(3))
        return {"samples": self.vae.vectors(ids), **more}

    def classes(self) -> tuple:
        """Circle on the left of a star, then a square everywhere."""
        half = torch.zeros(1, 16, 16)
        half[..., :8] = 1
        circle, square, star = (self.run("RandARClassList", class_list=name)[0] for name in CLASSES)
        region = self.run("RandARClassRegion", classes=circle, mask=self.place(half), background=star)[0]
        return (*region, *square)

    def draw(self, node_id: str, **inputs) -> tuple:
        negative = self.run("RandARClassList", class_list="star")[0]
        return self.run(node_id, model=self.model, classes=self.classes(), negative=negative, **COMMON, **inputs)


def painted_order(desk: Desk) -> tuple:
    order = desk.run("RandARPaintedOrder", mask=desk.mask(24, 32))[0]
    guidance = desk.run("RandARGuidance", course="linear", start=1.0, end=3.0)[0]
    return desk.draw("RandARSampler", order=order, guidance=guidance, batch_size=2)


def masked_latent(desk: Desk) -> tuple:
    latent = desk.latent(2, 4, 4, noise_mask=desk.mask(24, 32))
    return desk.draw("RandARSampler", latent_image=latent, denoise=0.5)


def inpainted(desk: Desk) -> tuple:
    return desk.draw("RandARInpaint", image=desk.random(1, 24, 32, 4), mask=desk.mask(24, 32), denoise=0.7)


def nothing_inpainted(desk: Desk) -> tuple:
    return desk.draw("RandARInpaint", image=desk.random(1, 24, 32, 3), mask=desk.place(torch.zeros(1, 64, 64)))


def outpainted(desk: Desk) -> tuple:
    return desk.draw("RandAROutpaint", image=desk.random(1, 16, 16, 3), left=12, top=0, right=0, bottom=7)


def outpainted_by_mask(desk: Desk) -> tuple:
    mask = torch.ones(1, 24, 24)
    mask[:, 4:20, :16] = 0
    sides = dict.fromkeys(("left", "top", "right", "bottom"), 0)
    return desk.draw("RandAROutpaint", image=desk.random(1, 24, 24, 3), mask=desk.place(mask), **sides)


def refined(desk: Desk) -> tuple:
    return desk.draw("RandARRefine", latent=desk.latent(1, 4, 5), forget="share", amount=0.5, rounds=2)


def scored(desk: Desk) -> tuple:
    found = desk.run("RandARConfidence", model=desk.model, classes=desk.classes(), latent=desk.latent(1, 4, 4), cfg=2.0)
    return (*found, *desk.run("RandARHeatMap", confidence=found[0]))


def extrapolated(desk: Desk) -> tuple:
    return desk.draw("RandARExtrapolate", factor=2, latent_image=desk.latent(2, 4, 4))


def feature_maps(desk: Desk) -> tuple:
    return desk.run("RandARFeatureMap", model=desk.model, image=desk.random(2, 24, 32, 3))


def feature_match(desk: Desk) -> tuple:
    image, target = desk.random(1, 24, 32, 3), desk.random(2, 20, 20, 3)
    return desk.run("RandARFeatureMatch", model=desk.model, image=image, mask=desk.mask(24, 32), target=target)


def coded(desk: Desk) -> tuple:
    """What the core's nodes for a VAE call."""
    pixels, latent = desk.random(2, 24, 33, 3), desk.latent(2, 5, 6)["samples"]
    tiles = {"tile_x": 16, "tile_y": 16, "overlap": 4}
    return (
        desk.vae.encode(pixels),
        desk.vae.decode(latent),
        desk.vae.encode_tiled(pixels, **tiles),
        desk.vae.decode_tiled(latent, tile_x=4, tile_y=4, overlap=1),
    )


def previewed(desk: Desk) -> tuple:
    """A run with previews on."""
    from comfy.cli_args import LatentPreviewMethod, args

    with mock.patch.object(args, "preview_method", LatentPreviewMethod.Auto):
        return desk.draw("RandARSampler", batch_size=2)


CASES: dict[str, Callable[[Desk], tuple]] = {
    "Sampler, painted order and guidance": painted_order,
    "Sampler, masked latent": masked_latent,
    "Sampler, previews": previewed,
    "Inpaint": inpainted,
    "Inpaint, an empty mask": nothing_inpainted,
    "Outpaint": outpainted,
    "Outpaint, by a mask": outpainted_by_mask,
    "Canvas": lambda desk: desk.draw("RandARCanvas", width=28, height=20),
    "Refine": refined,
    "Confidence, Heat Map": scored,
    "Extrapolate": extrapolated,
    "Feature Map": feature_maps,
    "Feature Match": feature_match,
    "VAE": coded,
}


def tensors_of(results: tuple) -> list[Tensor]:
    return [result["samples"] if isinstance(result, dict) else result for result in results]
