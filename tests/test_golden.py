"""Every golden case: what the authors' code computes on random weights, held against the public API.

`GOLDEN_DIR` names the folder (default: the copies beside this file). The kind of a case is the first word of its file
name; golden/README.md says what its tensors mean.
"""

import copy
import json
import os
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from einops import rearrange
from safetensors import safe_open

from randar_core.checkpoints.families import family_of
from randar_core.decoding.canvas import Canvas
from randar_core.decoding.conditions import PromptBatch
from randar_core.decoding.guidance import Guidance, Linear, PowerCosine
from randar_core.decoding.loop import decode
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.orders import raster
from randar_core.decoding.plan import make_plan
from randar_core.decoding.sampling import Sampling, probabilities
from randar_core.models.arpg import ARPG, ARPGConfig
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.lpd import LPD, LPDConfig
from randar_core.models.maskgit import MaskGITConfig, MaskGITTokenizer
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.models.rar import RAR, RARConfig
from randar_core.models.rope import rope_of
from randar_core.runtime.packed_linear import pack
from randar_core.tasks.extrapolate import extrapolate

GOLDEN = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "golden")
FILES = sorted(GOLDEN.glob("*.safetensors"))
GREEDY = Sampling(top_k=1)
NUMBER = r"(-?[\d.]+)"


def llama_fields(config: dict) -> dict:
    """Those of RandAR and of ARPG, whose authors' code comes from one place."""
    assert (config["norm_eps"], config["rope_base"], config["multiple_of"]) == (1e-5, 10000, 256)
    return {
        "width": config["dim"],
        "layers": config["n_layer"],
        "heads": config["n_head"],
        "codebook_size": config["vocab_size"],
        "classes": config["num_classes"],
        "grid": round(config["block_size"] ** 0.5),
    }


def rar_fields(config: dict) -> dict:
    return {
        "width": config["hidden_size"],
        "layers": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "mlp_width": config["intermediate_size"],
        "codebook_size": config["codebook_size"],
        "classes": config["condition_num_classes"],
        "grid": round(config["image_seq_len"] ** 0.5),
    }


def lpd_fields(config: dict) -> dict:
    assert (config["mlp_ratio"], config["norm_eps"]) == (4, 1e-6)
    return {
        "width": config["decoder_embed_dim"],
        "layers": config["decoder_depth"],
        "heads": config["decoder_num_heads"],
        "codebook_size": config["vqgan_vocab_size"],
        "classes": config["class_num"],
        "grid": config["img_size"] // config["vqgan_stride"],
    }


def llamagen_fields(config: dict) -> dict:
    return {
        "channels": config["ch"],
        "multipliers": tuple(config["ch_mult"]),
        "res_blocks": config["num_res_blocks"],
        "codebook_size": config["codebook_size"],
        "codebook_dim": config["codebook_embed_dim"],
        "z_channels": config["z_channels"],
    }


def maskgit_fields(config: dict) -> dict:
    assert config["z_channels"] == config["embedding_dim"]
    return {
        "channels": config["hidden_channels"],
        "multipliers": tuple(config["channel_mult"]),
        "res_blocks": config["num_res_blocks"],
        "codebook_size": config["num_embeddings"],
        "codebook_dim": config["embedding_dim"],
    }


# By the beginning of a case's name: the network, its configuration, and the fields of it in the authors' words.
NETWORKS = {
    "decoder": (RandAR, RandARConfig, llama_fields),
    "extrapolation": (RandAR, RandARConfig, llama_fields),
    "arpg": (ARPG, ARPGConfig, llama_fields),
    "rar": (RAR, RARConfig, rar_fields),
    "lpd": (LPD, LPDConfig, lpd_fields),
    "tokenizer_llamagen": (LlamaGenTokenizer, LlamaGenConfig, llamagen_fields),
    "tokenizer_maskgit": (MaskGITTokenizer, MaskGITConfig, maskgit_fields),
}


class Case:
    """A case for models on `device`: its inputs lie there, what is expected of them on the CPU."""

    def __init__(self, path: Path, device: str = "cpu"):
        self.name, self.device = path.stem, device
        with safe_open(path, "pt") as file:
            self.config = json.loads(file.metadata()["config"])
            self.tensors = {key: file.get_tensor(key) for key in file.keys()}
        self.weights = {
            key.removeprefix("weights."): value.float()
            for key, value in self.tensors.items()
            if key.startswith("weights.")
        }
        self.unread = {key for key in self.tensors if key.startswith("out.")}

    def input(self, name: str) -> torch.Tensor:
        return self.tensors[f"in.{name}"].to(self.device)

    def output(self, name: str) -> torch.Tensor:
        self.unread.discard(f"out.{name}")
        return self.tensors[f"out.{name}"]

    def outputs(self, pattern: str):
        """Every output whose name matches, with the numbers in its name."""
        for key in [key for key in self.tensors if key.startswith("out.")]:
            match = re.fullmatch(pattern, key.removeprefix("out."))
            if match:
                yield [float(number) for number in match.groups()], self.output(key.removeprefix("out."))

    def network(self) -> torch.nn.Module:
        """The network of the case, with its weights."""
        kinds = [kind for kind in NETWORKS if self.name.startswith(kind)]
        assert len(kinds) == 1, f"{self.name} is a case of none of {list(NETWORKS)}"
        network, config, fields = NETWORKS[kinds[0]]
        model = network(config(**fields(self.config)))
        ignored = family_of(model.config).ignored_keys
        model.load_state_dict({key: value for key, value in self.weights.items() if key not in ignored})
        return model.eval().to(self.device)


def assert_close(found: torch.Tensor, expected: torch.Tensor):
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=2e-5)


def same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return torch.equal(found.cpu(), expected)


def forms_of(model: torch.nn.Module) -> tuple[torch.nn.Module, ...]:
    """The model, and on a CPU the same with packed weights."""
    on_cpu = next(model.parameters()).is_cpu
    return (model, pack(copy.deepcopy(model))) if on_cpu else (model,)


def draw_greedily(model, case: Case, order, guidance, steps: int, schedule: str | None = None) -> torch.Tensor:
    """Ids `[B, N]` in raster order, and checks the number of calls on the way."""
    canvas = Canvas.empty(len(case.input("class_ids")), model.config.grid, model.config.grid, case.device)
    options = DecodingOptions(guidance, steps, 0, GREEDY, order, schedule)
    conditions = PromptBatch.of(case.input("class_ids")).on_cells(model.config.grid, model.config.grid)
    decoded = decode(model, canvas, make_plan(model, canvas.known, options), conditions, options)
    if model.traits.parallel:
        least = 1 if schedule == "arccos" else 2
        assert decoded.calls == min(max(steps, least), canvas.cells)
    assert decoded.known.all()
    return decoded.ids.flatten(1)


def check_decoder(case: Case):
    model, order = case.network(), case.input("order")
    along = case.input("tokens").gather(1, order)
    condition = model.class_embedding(case.input("class_ids"))
    assert_close(model(condition, along, order), case.output("teacher_forced_logits"))
    assert_close(model.rope_table(), case.output("rope_table"))
    instructions = model.position_instructions(rope_of(order, model.rope_table()))
    assert_close(instructions, case.output("position_instruction"))
    for (steps, start, end), ids in case.outputs(rf"greedy\.steps{NUMBER}\.cfg{NUMBER}-{NUMBER}"):
        guidance = Guidance(Linear(start, end))
        for form in forms_of(model):
            drawn = draw_greedily(form, case, order, guidance, int(steps))
            assert same(drawn, ids), (form, steps, start, end)


def check_extrapolation(case: Case):
    for form in forms_of(case.network()):
        check_extrapolation_of(form, case)


def check_extrapolation_of(model, case: Case):
    order, factor = case.input("order"), int(case.config["factor"])
    boundary, grid = case.config["ntk_boundary"], model.config.grid
    assert_close(model.enlarged(factor, boundary).rope_table(), case.output("rope_table"))
    y, x = order[:, : grid**2] // (factor * grid), order[:, : grid**2] % (factor * grid)
    kept = torch.zeros(len(order), grid**2, device=case.device).scatter(
        1, y // factor * grid + x // factor, case.input("context_kept")
    )
    for name, run in case.config["runs"].items():
        assert (run["steps"], run["top_k"]) == (-1, 1)
        schedule, spatial = Linear(*run["cfg"]), Linear(*run["spatial_cfg"])
        decoded = extrapolate(
            model,
            case.input("class_ids"),
            # So many steps that every call draws one token.
            DecodingOptions(Guidance(schedule, spatial), order.shape[1] ** 2, 0, GREEDY, order),
            factor,
            boundary=boundary,
            context_mask=kept.view(-1, grid, grid),
        )
        assert decoded.calls == order.shape[1]
        drawn, expected = (
            ids.cpu().gather(1, order.cpu()) for ids in (decoded.ids.flatten(1), case.output(f"greedy.{name}"))
        )
        assert torch.equal(drawn[:, :-1], expected[:, :-1]), name  # the authors never draw the last token


def check_rar(case: Case):
    model, order = case.network(), case.input("order")
    condition = model.class_embedding(case.input("class_ids"))
    for name, one in (("raster", order.sort(1).values), ("order", order)):
        along = case.input("tokens").gather(1, one)
        # The authors' last row, after the last token, predicts nothing.
        assert_close(model(condition, along, one), case.output(f"teacher_forced_logits.{name}")[:, :-1])
    for (scale, power), ids in case.outputs(rf"greedy\.guidance{NUMBER}\.pow{NUMBER}"):
        guidance = Guidance(PowerCosine(scale, power))
        for form in forms_of(model):
            assert same(draw_greedily(form, case, raster, guidance, model.config.cells), ids), (scale, power)


def check_arpg(case: Case):
    model, order, classes = case.network(), case.input("order"), case.input("class_ids")
    along = case.input("tokens").gather(1, order)
    for name, ids in (("", classes), (".null", torch.full_like(classes, model.null_class))):
        assert_close(model(model.class_embedding(ids), along, order), case.output(f"teacher_forced_logits{name}"))
    assert_close(model.rope_table, case.output("rope_table"))
    for course, schedule in product(("linear", "constant"), ("arccos", "cosine")):
        for (steps, weight), ids in case.outputs(rf"greedy\.steps{NUMBER}\.cfg{NUMBER}\.{course}\.{schedule}"):
            guidance = Guidance(Linear(1.0 if course == "linear" else weight, weight))
            for form in forms_of(model):
                drawn = draw_greedily(form, case, case.input("shared_order"), guidance, int(steps), schedule)
                assert same(drawn, ids), (form, steps, weight, course, schedule)


def check_lpd(case: Case):
    model, order, class_ids = case.network(), case.input("order"), case.input("class_ids")
    along, condition = case.input("tokens").gather(1, order), model.class_embedding(class_ids)
    for name in sorted(case.unread):
        kind, sizes, scale, schedule = re.fullmatch(
            r"out\.(teacher_forced_logits|greedy)\.groups([\d-]+)(?:\.cfg([\d.]+)\.(linear|constant))?", name
        ).groups()
        sizes, expected = tuple(int(size) for size in sizes.split("-")), case.output(name.removeprefix("out."))
        if kind == "greedy":
            start = 1.0 if schedule == "linear" else float(scale)
            guidance = Guidance(Linear(start, float(scale)))
            for form in forms_of(model):
                assert same(draw_lpd_greedily(form, class_ids, order, sizes, guidance), expected), name
        else:
            assert_close(lpd_logits(model, condition, along, order, sizes), expected)
            assert_close(model(condition, along, order, group_sizes=sizes), expected)
            if max(sizes) == 1:
                assert_close(model(condition, along, order), expected)


def lpd_logits(model, condition, along, order, sizes) -> torch.Tensor:
    """Logits of a decode in groups of `sizes` that is fed the tokens `along` whatever it draws."""
    state, logits, done, fed = model.start(condition, order), [], 0, 0
    for size in sizes:
        logits.append(model.step(state, along[:, fed:done], size))
        fed, done = done, done + size
    return torch.cat(logits, 1)


def draw_lpd_greedily(model, class_ids, order, sizes, guidance) -> torch.Tensor:
    grid = model.config.grid
    canvas = Canvas.empty(len(class_ids), grid, grid, class_ids.device)
    options = DecodingOptions(guidance, len(sizes), 0, GREEDY, order)
    plan = replace(make_plan(model, canvas.known, options), sizes=(sizes,) * len(class_ids))
    conditions = PromptBatch.of(class_ids).on_cells(grid, grid)
    return decode(model, canvas, plan, conditions, options).ids.flatten(1)


def check_sampling(case: Case):
    for (temperature, top_k, top_p), expected in case.outputs(
        rf"probabilities\.temperature{NUMBER}\.top_k{NUMBER}\.top_p{NUMBER}"
    ):
        assert_close(probabilities(case.input("logits"), Sampling(temperature, int(top_k), top_p)), expected)


def check_tokenizer(case: Case):
    # Convolutions add in another order in another layout: the ids are exact, the rest within the same 2e-5.
    for layout in (torch.contiguous_format, torch.channels_last):
        check_tokenizer_of(case.network().to(memory_format=layout), case)


def check_tokenizer_of(model, case: Case):
    # The authors' LlamaGen code works on pixels in −1…1, the public API on 0…1.
    signed = "llamagen" in case.name
    to_ours = (lambda pixels: (pixels + 1) / 2) if signed else (lambda pixels: pixels)
    to_theirs = (lambda pixels: pixels * 2 - 1) if signed else (lambda pixels: pixels)
    pixels = to_ours(case.input("pixels"))
    assert_close(model.pre_quant(pixels), case.output("pre_quant"))
    assert same(model.encode(pixels).flatten(), case.output("indices").flatten())
    side = round(case.input("code").shape[1] ** 0.5)
    code = rearrange(case.input("code"), "b (h w) -> b h w", h=side)
    assert_close(to_theirs(model.decode(code)), case.output("pixels"))
    for (rows, columns), expected in case.outputs(r"pixels_(\d+)x(\d+)"):
        code = case.input(f"code_{int(rows)}x{int(columns)}")
        assert_close(to_theirs(model.decode(code.view(-1, int(rows), int(columns)))), expected)


CHECKS = {
    "arpg": check_arpg,
    "decoder": check_decoder,
    "extrapolation": check_extrapolation,
    "lpd": check_lpd,
    "rar": check_rar,
    "sampling": check_sampling,
    "tokenizer": check_tokenizer,
}


def kind(path: Path) -> str:
    return path.stem.split("_")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@torch.no_grad()
def test_golden_case(path):
    assert kind(path) in CHECKS, f"{path.name}: no check for golden cases of the kind {kind(path)!r}"
    case = Case(path)
    CHECKS[kind(path)](case)
    assert not case.unread, f"{path.name} holds outputs that nothing was compared with: {sorted(case.unread)}"


def test_the_golden_folder_holds_cases():
    assert FILES, f"no *.safetensors in GOLDEN_DIR {GOLDEN}"
