"""The same seed gives the same picture: ids of every task against a record, for the built-in model and for small ones.

Two records lie next to this file: `same_pictures.safetensors` of small RandAR and RAR models with random weights, and
`same_pictures_builtin.safetensors` of the built-in model, which names the sha256 of the file that it belongs to. A
change of code must not change them. Where the pictures are meant to change (another built-in model), write them again:

    RECORD=1 .venv/bin/pytest tests/tasks/test_same_pictures.py                 both records
    RECORD=1 .venv/bin/pytest tests/tasks/test_same_pictures.py -k built_in     that of the built-in model alone
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from randar_core.checkpoints.locate import BUILTIN
from randar_core.checkpoints.model import load_model
from randar_core.decoding.canvas import Canvas
from randar_core.decoding.guidance import UNGUIDED, Guidance, Linear, PowerCosine
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.orders import ORDERS, Painted
from randar_core.decoding.sampling import Sampling
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.models.rar import RAR, RARConfig
from randar_core.tasks import confidence, extrapolate, fill, generate, inpaint, outpaint, refine

RECORD = os.environ.get("RECORD") == "1"
FOLDER = Path(__file__).parent
LINEAR = Guidance(Linear(1.5, 4.0))
SPATIAL = Guidance(Linear(1.5, 1.5), Linear(2.0, 2.0))
MOST_IDS = 1024  # of a record: of more the hash is kept


@dataclass(frozen=True)
class Subject:
    """A model and its tokenizer.

    The records are made in float64. In float32, two tokens may be as good as equal in a draw, and which of them is
    taken depends on how a processor's kernels round: where ids differ there, those of float64 count (`check_case`).
    """

    transformer: torch.nn.Module
    tokenizer: torch.nn.Module

    @property
    def grid(self) -> int:
        return self.transformer.config.grid

    @property
    def is_small(self) -> bool:
        """Whether an enlarged picture is drawn at once. Those of the built-in model take seconds."""
        return self.transformer.config.layers <= 2

    @property
    def side(self) -> int:
        return self.grid * self.tokenizer.factor


# What is asked of the library: all calls of it are here.


def built_in() -> Subject:
    model = load_model(BUILTIN, dtype=torch.float32)
    return Subject(model.transformer, model.tokenizer)


def random_randar() -> Subject:
    return Subject(
        with_random_weights(RandAR(RandARConfig(width=32, layers=2, heads=4, codebook_size=64, classes=12, grid=6))),
        random_tokenizer(),
    )


def random_rar() -> Subject:
    config = RARConfig(width=32, layers=2, heads=2, mlp_width=48, codebook_size=64, classes=12, grid=6)
    return Subject(with_random_weights(RAR(config)), random_tokenizer())


def random_tokenizer() -> torch.nn.Module:
    sizes = {"channels": 8, "multipliers": (1, 1, 2), "res_blocks": 1, "z_channels": 8, "norm_groups": 4, "margin": 1}
    return with_random_weights(LlamaGenTokenizer(LlamaGenConfig(**sizes, codebook_size=64, codebook_dim=4)))


def options(
    steps: int = 6, seed: int = 3, guidance=LINEAR, order="random", batch_index=None, **more
) -> DecodingOptions:
    order = ORDERS[order] if isinstance(order, str) else order
    return DecodingOptions(guidance, steps, seed, order=order, batch_index=batch_index, **more)


def draw(subject: Subject, settings: DecodingOptions, count: int = 1, height=None, width=None, overlap=None):
    return generate.generate(subject.transformer, classes(count), settings, height, width, overlap)


def complete(subject: Subject, ids: Tensor, known: Tensor, settings: DecodingOptions):
    return fill.fill(subject.transformer, Canvas(ids, known), classes(len(ids)), settings)


def repaint(subject: Subject, pixels: Tensor, mask: Tensor, settings: DecodingOptions, **more):
    given = pixels, mask, classes(len(pixels))
    return inpaint.inpaint(subject.transformer, subject.tokenizer, *given, settings, **more)


def grow(subject: Subject, pixels: Tensor, settings: DecodingOptions, **more):
    return outpaint.outpaint(subject.transformer, subject.tokenizer, pixels, classes(len(pixels)), settings, **more)


def enlarge(subject: Subject, settings: DecodingOptions, factor: int = 2, count: int = 1, **more):
    return extrapolate.extrapolate(subject.transformer, classes(count), settings, factor, **more)


def improve(subject: Subject, ids: Tensor, settings: DecodingOptions, **more):
    return refine.refine(subject.transformer, ids, classes(len(ids)), settings, **more)


def judge(subject: Subject, ids: Tensor, known: Tensor, settings: DecodingOptions) -> Tensor:
    return confidence.score_confidence(subject.transformer, Canvas(ids, known), classes(len(ids)), settings)


# What a case starts from


def classes(count: int) -> Tensor:
    return (3 + 7 * torch.arange(count)) % 12


def with_random_weights(network: torch.nn.Module) -> torch.nn.Module:
    """By name, so that the order of the parameters doesn't matter."""
    generator = torch.Generator().manual_seed(0)
    for _, parameter in sorted(network.named_parameters()):
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return network.eval().requires_grad_(False)


def picture(height: int, width: int) -> Tensor:
    """Two pictures of one disc each on a sloping background: `[2, 3, height, width]`."""
    y = torch.linspace(-1, 1, height)[:, None]
    x = torch.linspace(-1, 1, width)
    colours = torch.tensor([[0.9, 0.3, 0.2], [0.2, 0.5, 0.8]])[:, :, None, None]
    background = torch.stack([0.5 + 0.3 * x + 0 * y, 0.5 + 0.3 * y + 0 * x, 0.6 - 0.2 * x * y])
    disc = ((x - 0.2) ** 2 + (y + 0.1) ** 2 < 0.3).float()
    return background * (1 - disc) + colours * disc


def mask_of(height: int, width: int, regions: int = 1) -> Tensor:
    """`[1, height, width]`: a box right of the middle, and one in the corner."""
    mask = torch.zeros(1, height, width)
    mask[:, height // 3 : height * 2 // 3, width // 2 : width * 3 // 4] = 1
    if regions > 1:
        mask[:, : height // 8, : width // 8] = 1
    return mask


def some_ids(subject: Subject, height: int | None = None, width: int | None = None, count: int = 2) -> Tensor:
    """The ids of `picture` where there are as many cells as `height` and `width` say, by default the model's grid."""
    return encoded(subject, height or subject.grid, width or subject.grid)[:count].clone()


@cache
def encoded(subject: Subject, height: int, width: int) -> Tensor:
    cell = subject.tokenizer.factor
    return subject.tokenizer.encode(picture(height * cell, width * cell))


def some_known(ids: Tensor, share: float = 0.5) -> Tensor:
    return torch.rand(ids.shape, generator=torch.Generator().manual_seed(5)) < share


# The cases: what each gives is compared with the record, tensor by tensor.


def drawn(decoded) -> dict[str, Tensor]:
    return {"ids": decoded.ids, "confidence": decoded.confidence}


def painted(result) -> dict[str, Tensor]:
    return {"ids": result.decoded.ids, "pixels": F.adaptive_avg_pool2d(result.pixels, 12)}


def generate_cases() -> dict[str, Callable[[Subject], dict[str, Tensor]]]:
    # Seeds with which no two tokens are as good as equal in float32: otherwise a case is drawn in float64 as well.
    cases = {
        f"generate, {name}": lambda subject, name=name: drawn(draw(subject, options(steps=4, seed=4, order=name)))
        for name in ORDERS
    }
    return cases | {
        "generate, one call": lambda subject: drawn(draw(subject, options(steps=1))),
        "generate, 17 calls": lambda subject: drawn(draw(subject, options(steps=17))),
        "generate, no guidance": lambda subject: drawn(draw(subject, options(guidance=UNGUIDED))),
        "generate, guidance by a power": lambda subject: drawn(
            draw(subject, options(guidance=Guidance(PowerCosine(4.0, 1.5))))
        ),
        "generate, sampling": lambda subject: drawn(
            draw(subject, options(sampling=Sampling(temperature=0.8, top_k=20, top_p=0.9)))
        ),
        "generate, painted order": lambda subject: drawn(draw(subject, options(order=Painted(mask_of(40, 40)[0])))),
        "generate, order of cells": lambda subject: drawn(
            draw(subject, options(order=torch.arange(subject.grid**2).flip(0)))
        ),
        "generate, batch index": lambda subject: drawn(
            draw(subject, options(steps=3, seed=5, batch_index=[7, 2, 7], batch_size=2), 3)
        ),
        "canvas, larger": lambda subject: drawn(
            draw(subject, options(steps=4), 1, subject.grid + 2, subject.grid * 5 // 4)
        ),
        "canvas, larger, small overlap, in pieces": lambda subject: drawn(
            draw(
                subject,
                options(steps=3, batch_size=1, order="spiral out"),
                2,
                subject.grid,
                subject.grid * 2,
                subject.grid // 4,
            )
        ),
        "canvas, smaller": lambda subject: drawn(draw(subject, options(), 1, subject.grid - 2, subject.grid // 2)),
        "canvas, partly known": lambda subject: drawn(
            complete(subject, some_ids(subject), some_known(some_ids(subject)), options())
        ),
    }


def editing_cases() -> dict[str, Callable[[Subject], dict[str, Tensor]]]:
    return {
        "inpaint": lambda subject: painted(
            repaint(
                subject,
                picture(subject.side, subject.side),
                mask_of(subject.side, subject.side),
                options(),
                grow=2,
                seam=4,
            )
        ),
        "inpaint, two regions of a wide picture": lambda subject: painted(
            repaint(
                subject,
                picture(subject.side, subject.side * 2)[:1],
                mask_of(subject.side, subject.side * 2, regions=2),
                options(batch_size=1),
                context=1.5,
            )
        ),
        "class edit": lambda subject: painted(
            repaint(
                subject,
                picture(subject.side, subject.side)[:1],
                mask_of(subject.side, subject.side),
                options(seed=8),
                denoise=0.6,
            )
        ),
        "outpaint": lambda subject: painted(
            grow(
                subject,
                picture(subject.side, subject.side)[:1],
                options(),
                left=subject.side // 3,
                bottom=subject.side // 4 + 1,
                seam=16,
            )
        ),
        "refine, a share, two rounds": lambda subject: drawn(
            improve(subject, some_ids(subject), options(), share=0.25, rounds=2)
        ),
        "refine, below a probability": lambda subject: drawn(
            improve(subject, some_ids(subject, count=1), options(batch_index=[4]), below=0.02)
        ),
        "refine, larger": lambda subject: drawn(
            improve(subject, some_ids(subject, width=subject.grid + 4, count=1), options(), share=0.2)
        ),
        "confidence": lambda subject: {
            "confidence": judge(
                subject, some_ids(subject), torch.zeros_like(some_ids(subject), dtype=torch.bool), options()
            )
        },
        "confidence, partly known": lambda subject: {
            "confidence": judge(
                subject, some_ids(subject, count=1), some_known(some_ids(subject, count=1), 0.3), options()
            )
        },
    }


def extrapolation_cases() -> dict[str, Callable[[Subject], dict[str, Tensor]]]:
    return {
        "extrapolate, from class": lambda subject: drawn(enlarge(subject, options(steps=4, guidance=LINEAR))),
        "extrapolate, from class, spatial guidance": lambda subject: drawn(
            enlarge(
                subject,
                options(steps=4, guidance=SPATIAL, seed=5),
                count=2 if subject.is_small else 1,
                boundary=1,
                drop_ratio=0.4,
            )
        ),
        "extrapolate, from picture": lambda subject: drawn(
            enlarge(subject, options(steps=4, order="hierarchical", guidance=SPATIAL), ids=some_ids(subject, count=1))
        ),
    }


SUBJECTS = {"built-in": built_in, "RandAR": random_randar, "RAR": random_rar}
CASES = {
    (name, case): function
    for name, families in {
        "built-in": (generate_cases, editing_cases, extrapolation_cases),
        "RandAR": (generate_cases, editing_cases, extrapolation_cases),
        "RAR": (generate_cases, editing_cases),
    }.items()
    for cases in families
    for case, function in cases().items()
}


@cache
def subject_of(name: str, dtype: torch.dtype) -> Subject:
    subject = SUBJECTS[name]()
    return Subject(subject.transformer.to(dtype), subject.tokenizer.to(dtype))


# The record


def as_recorded(name: str, values: Tensor) -> Tensor:
    """Ids as int16, or of many the sha256 as 32 bytes; other numbers in thousandths."""
    if name != "ids":
        return (values * 1000).round().to(torch.int16)
    values = values.to(torch.int16).contiguous()
    if values.numel() <= MOST_IDS:
        return values
    return torch.frombuffer(bytearray(hashlib.sha256(values.numpy().tobytes()).digest()), dtype=torch.uint8)


def case_in(key: str) -> tuple[str, str]:
    """The subject and the case of a key of the record."""
    name, case = key[: key.rindex(": ")].split(", ", 1)
    return name, case


def found_in(case: tuple[str, str], dtype: torch.dtype) -> dict[str, Tensor]:
    with torch.inference_mode():
        found = CASES[case](subject_of(case[0], dtype))
    return {f"{case[0]}, {case[1]}: {name}": as_recorded(name, values) for name, values in found.items()}


def check_case(case: tuple[str, str], record: dict[str, Tensor]) -> None:
    """Compare with the record, or write into it. float32 is tried first, since it takes half the time."""
    if RECORD:
        record.update(found_in(case, torch.float64))
        return
    found = found_in(case, torch.float32)
    try:
        check(found, record)
    except AssertionError:
        check(found_in(case, torch.float64), record)


def check(found: dict[str, Tensor], record: dict[str, Tensor]) -> None:
    for key, values in found.items():
        assert key in record, f"The record lacks '{key}'. Write it again: see the first lines of {Path(__file__).name}."
        # Numbers round otherwise on other processors.
        tolerance = 0 if key.endswith("ids") else 2
        torch.testing.assert_close(values, record[key], rtol=0, atol=tolerance, msg=lambda text, k=key: f"{k}: {text}")


def record_in(path: Path, metadata: dict[str, str]):
    """The record at `path`; with RECORD=1 it is written again when the tests that fill it are over."""
    record = load_file(path) if path.is_file() else {}
    yield record
    if RECORD:
        save_file({key: values for key, values in record.items() if case_in(key) in CASES}, path, metadata)
        path.chmod(0o644)  # the safetensors library leaves a file that nobody else may read


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Sums are added in one order, and cores that are busy with other work don't hold these small products up."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def record():
    yield from record_in(FOLDER / "same_pictures.safetensors", {})


@pytest.fixture(scope="module")
def builtin_record():
    path = FOLDER / "same_pictures_builtin.safetensors"
    digest = hashlib.sha256(BUILTIN.read_bytes()).hexdigest()
    if not RECORD:
        with safe_open(path, framework="pt") as file:
            recorded = file.metadata()["weights"]
        if recorded != digest:
            pytest.fail(
                f"{path.name} belongs to another built-in model: it names the sha256 {recorded[:12]}…, the file has "
                f"{digest[:12]}…. Write it again: RECORD=1 .venv/bin/pytest {Path(__file__).name} -k built_in"
            )
    yield from record_in(path, {"weights": digest})


@pytest.mark.parametrize("case", [case for name, case in CASES if name == "built-in"])
def test_the_built_in_model_draws_the_recorded_picture(builtin_record, case):
    check_case(("built-in", case), builtin_record)


@pytest.mark.parametrize("name, case", [(name, case) for name, case in CASES if name != "built-in"])
def test_a_random_model_draws_the_recorded_picture(record, name, case):
    check_case((name, case), record)


@pytest.mark.skipif(RECORD, reason="the records are being written")
def test_both_records_hold_every_case_and_nothing_more():
    paths = FOLDER / "same_pictures.safetensors", FOLDER / "same_pictures_builtin.safetensors"
    assert {case_in(key) for path in paths for key in load_file(path)} == set(CASES)
