"""The judge of the quality report: a small classifier of drawn landscapes that never sees a generated one.

`python benchmarks/quality/judge.py` trains it from its seed and writes benchmarks/quality/judge.safetensors, with its
accuracy on fresh pictures, and the mean and covariance of its features over further ones of each class: the reference
of the Fréchet distance.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from randar_core.io.atomic import atomic_write
from randar_core.io.images import to_float
from randar_core.procedural.landscape.pictures import CLASSES, DRAWING, picture

WEIGHTS = Path(__file__).with_name("judge.safetensors")

SIDE = 64
"""Pixels of a side of what the judge sees, whatever the size of the picture."""

FEATURES = 64

# Seeds of the set. A built-in model is trained on none of them.
TRAINING_PICTURES, FRESH_PICTURES, REFERENCE_PICTURES = 71_001, 71_002, 71_003


class Judge(nn.Module):
    """Six convolutions and a mean over positions. `features` is the layer before the last."""

    def __init__(self):
        super().__init__()
        sizes = ((3, 16, 2), (16, 32, 2), (32, 64, 2), (64, 96, 1), (96, 96, 1), (96, FEATURES, 1))
        layers = []
        for width_in, width, stride in sizes:
            layers += [nn.Conv2d(width_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, len(CLASSES))

    def features(self, pixels: Tensor) -> Tensor:
        """Pictures `[B, 3, SIDE, SIDE]` in 0…1 -> `[B, FEATURES]`."""
        return self.layers(2 * pixels - 1).mean((2, 3))

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures `[B, 3, SIDE, SIDE]` in 0…1 -> logits `[B, classes]`."""
        return self.head(self.features(pixels))


@dataclass(frozen=True)
class Verdict:
    """What the judge returns for pictures: `classes` `[B]` int64 and `features` `[B, FEATURES]` float64."""

    classes: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class TrainedJudge:
    """The judge, its accuracy on `accuracy_count` fresh pictures, and the features of `reference_count` others.

    `means` `[classes, FEATURES]` and `covariances` `[classes, FEATURES, FEATURES]` are those of each class.
    """

    network: Judge
    accuracy: float
    accuracy_count: int
    means: np.ndarray
    covariances: np.ndarray
    reference_count: int
    training_count: int

    @torch.inference_mode()
    def look(self, pixels: Tensor) -> Verdict:
        """Judge pictures `[B, 3, H, W]` in 0…1 (values outside are clamped), scaled by area to the judge's size."""
        features = self.network.features(judge_input(pixels))
        return Verdict(self.network.head(features).argmax(1).numpy(), features.double().numpy())


def judge_input(pixels: Tensor) -> Tensor:
    """Pictures `[B, 3, H, W]` at the judge's size, `[B, 3, SIDE, SIDE]`."""
    return F.interpolate(pixels.float().cpu().clamp(0, 1), (SIDE, SIDE), mode="area")


def load_judge(path: Path = WEIGHTS) -> TrainedJudge:
    """Raises ValueError if the judge learnt other pictures than the landscapes as they are drawn now."""
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["facts"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    if facts.get("classes") != list(CLASSES) or facts.get("drawing") != DRAWING:
        raise ValueError(
            f"The judge in '{path}' learnt other pictures than the landscapes as they are drawn now. "
            "Train it again: python benchmarks/quality/judge.py"
        )
    means, covariances = (tensors.pop(f"reference.{name}").double().numpy() for name in ("means", "covariances"))
    network = Judge()
    network.load_state_dict(
        {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    )
    return TrainedJudge(
        network.eval().requires_grad_(False),
        facts["accuracy"],
        facts["accuracy_count"],
        means,
        covariances,
        facts["reference_count"],
        facts["training_pictures"],
    )


def landscapes(seed: int, count: int, size: int, title: str) -> tuple[Tensor, Tensor]:
    """The first `count` landscapes of `seed` at the judge's size, and their labels. They are drawn at `size`."""
    pictures, labels = [], []
    for start in tqdm(range(0, count, 100), desc=title, unit="00 pictures", disable=None):
        drawn = [picture(seed, index, size=size) for index in range(start, min(start + 100, count))]
        pictures.append(judge_input(to_float(np.stack([pixels for pixels, _ in drawn]))))
        labels += [label for _, label in drawn]
    return torch.cat(pictures), torch.tensor(labels)


def augmented(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Half mirrored, half softened, all with a little noise: the judge must not depend on the last sharp pixel."""
    choice = torch.rand(len(pixels), 3, generator=generator)[..., None, None, None]
    pixels = torch.where(choice[:, 0] < 0.5, pixels, pixels.flip(3))
    soft = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, 1)
    pixels = torch.where(choice[:, 1] < 0.5, pixels, soft)
    return pixels + 0.04 * choice[:, 2] * torch.randn(pixels.shape, generator=generator)


def train(seed: int, count: int, epochs: int) -> Judge:
    """A judge trained on `count` pictures, each drawn at the judge's size and shown `epochs` times."""
    pixels, labels = landscapes(TRAINING_PICTURES, count, SIDE, "training pictures")
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = Judge().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    size = 64
    steps = epochs * (count // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    with tqdm(total=steps, desc="training", unit=" steps", disable=None) as bar:
        for _ in range(epochs):
            right = 0
            for chosen in torch.randperm(count, generator=generator)[: count // size * size].split(size):
                shown = augmented(pixels[chosen], generator).contiguous(memory_format=torch.channels_last)
                logits = network(shown)
                loss = F.cross_entropy(logits, labels[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                right += int((logits.argmax(1) == labels[chosen]).sum())
                bar.update()
            bar.set_postfix(accuracy=f"{right / (count // size * size):.4f}")
    return network.eval()


@torch.no_grad()
def save_judge(path: Path, network: Judge, count: int, facts: dict) -> float:
    """Write the judge in half precision with its figures on `count` fresh pictures; returns its accuracy."""
    weights = {key: t.half().contiguous() if t.is_floating_point() else t for key, t in network.state_dict().items()}
    # Measured with the weights as they are saved.
    network.load_state_dict(weights)
    pixels, labels = landscapes(FRESH_PICTURES, count, 128, "fresh pictures")
    accuracy = float((network(pixels).argmax(1) == labels).float().mean())
    pixels, labels = landscapes(REFERENCE_PICTURES, count, 128, "reference pictures")
    features = network.features(pixels).double()
    of_class = [features[labels == label] for label in range(len(CLASSES))]
    measured = {"accuracy": accuracy, "accuracy_count": count, "reference_count": count}
    facts = facts | measured | {"classes": list(CLASSES), "drawing": DRAWING}
    reference = {
        "reference.means": torch.stack([each.mean(0) for each in of_class]).float(),
        "reference.covariances": torch.stack([each.T.cov() for each in of_class]).float(),
    }
    with atomic_write(path) as part:
        save_file(weights | reference, part, {"facts": json.dumps(facts)})
        part.chmod(0o644)
    return accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=8000, help="training pictures")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument(
        "--fresh", type=int, default=3000, help="fresh pictures for the accuracy, and for the reference"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network = train(arguments.seed, arguments.count, arguments.epochs)
    facts = {"seed": arguments.seed, "training_pictures": arguments.count, "epochs": arguments.epochs}
    accuracy = save_judge(arguments.out, network, arguments.fresh, facts)
    print(f"{arguments.out}: {accuracy:.4f} of {arguments.fresh} fresh pictures recognised")


if __name__ == "__main__":
    main()
