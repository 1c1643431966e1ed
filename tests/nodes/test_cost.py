"""What a long run says before it begins, and how soon an interrupt ends it."""

import logging
import re

import pytest
import torch


@pytest.fixture
def long_runs(model):
    """Inputs of runs that take several windows, by node; and the most calls that each may take."""
    picture = torch.rand(1, 16, 64, 3, generator=torch.Generator().manual_seed(0))
    ids = torch.randint(32, (1, 8, 16), generator=torch.Generator().manual_seed(5))
    return {
        "RandARCanvas": {"width": 160, "height": 16},
        "RandAROutpaint": {"image": picture, "left": 64, "top": 0, "right": 64, "bottom": 16},
        "RandARRefine": {"latent": {"samples": model.vae.vectors(ids)}, "forget": "share", "amount": 0.5, "rounds": 3},
        "RandARInpaint": {"image": picture, "mask": two_regions(), "grow_mask_by": 0},
    }


def two_regions() -> torch.Tensor:
    """Of one cell and of two: their crops aren't drawn in the same calls."""
    mask = torch.zeros(1, 16, 64)
    mask[:, 4:8, 4:8] = mask[:, 4:8, 48:56] = 1
    return mask


CELLS = {"RandARCanvas": 40 * 4, "RandAROutpaint": 48 * 8, "RandARRefine": 16 * 8, "RandARInpaint": 16}
PARTS = {"RandARInpaint": "crops of"}


@pytest.mark.parametrize("node_id", CELLS)
def test_the_log_says_what_a_run_of_many_windows_costs(run, long_runs, reports, caplog, node_id):
    with caplog.at_level(logging.INFO):
        run(node_id, **long_runs[node_id])
    said = re.search(
        rf"(\d+) {PARTS.get(node_id, 'windows for')} (\d+) cells, up to (\d+) calls of the model, for each picture of "
        "a batch of 1",
        caplog.text,
    )
    windows, cells, calls = map(int, said.groups())
    assert cells == CELLS[node_id]
    assert windows > 1 and max(total for _, total, _ in reports) <= calls


@pytest.mark.parametrize("latent", [False, True])
def test_the_log_says_what_an_enlarged_picture_costs(run, model, reports, caplog, latent):
    ids = torch.zeros(1, 4, 4, dtype=torch.long)
    given = {"latent_image": {"samples": model.vae.vectors(ids)}} if latent else {}
    with caplog.at_level(logging.INFO):
        run("RandARExtrapolate", factor=2, **given)
    said = re.search(r"64 cells at once, 4 times the model's own, up to (\d+) calls of the model", caplog.text)
    assert max(total for _, total, _ in reports) == int(said.group(1))


@pytest.mark.parametrize(
    ("node_id", "inputs", "said"),
    [
        ("RandARInpaint", {"mask": torch.ones(1, 16, 70)}, "Scale or crop the mask"),
        ("RandARInpaint", {"denoise": float("nan")}, "Denoise is nan"),
        ("RandARInpaint", {"context": float("inf")}, "The context is inf"),
        ("RandARExtrapolate", {"factor": 0}, "The factor is 0"),
        ("RandARExtrapolate", {"factor": 2, "drop_ratio": 2.0}, "The drop ratio is 2"),
    ],
)
def test_what_is_refused_has_no_cost(run, long_runs, caplog, node_id, inputs, said):
    with caplog.at_level(logging.INFO), pytest.raises(ValueError, match=said):
        run(node_id, **long_runs.get(node_id, {}) | inputs)
    assert "calls of the model" not in caplog.text


@pytest.mark.parametrize(
    ("node_id", "inputs"),
    [
        ("RandARSampler", {}),
        ("RandARInpaint", {"mask": two_regions()[..., :32]}),
        ("RandARInpaint", {"mask": two_regions(), "denoise": 0.0}),
        ("RandAROutpaint", {"image": torch.zeros(1, 16, 64, 3), "left": 0, "top": 0, "right": 0, "bottom": 0}),
    ],
)
def test_a_run_of_one_window_or_of_none_says_nothing(run, long_runs, caplog, node_id, inputs):
    with caplog.at_level(logging.INFO):
        if "mask" in inputs:
            inputs = {"image": long_runs["RandARInpaint"]["image"][..., : inputs["mask"].shape[2], :]} | inputs
        run(node_id, **inputs)
    assert "calls of the model" not in caplog.text


@pytest.mark.parametrize("node_id", ["RandARCanvas", "RandAROutpaint", "RandARRefine"])
@pytest.mark.parametrize("phase", ["__call__", "on_score"])
def test_an_interrupt_ends_a_long_run_within_one_call(pack, run, long_runs, monkeypatch, node_id, phase):
    import comfy.model_management as management

    if phase == "on_score" and node_id != "RandARRefine":
        pytest.skip("nothing is scored")
    progress, calls = pack.module("nodes.progress").Progress, []
    report = getattr(progress, phase)

    def interrupted(self, *arguments):
        calls.append(arguments)
        if len(calls) == 2:
            management.interrupt_current_processing()
        return report(self, *arguments)

    monkeypatch.setattr(progress, phase, interrupted)
    with pytest.raises(management.InterruptProcessingException):
        run(node_id, **long_runs[node_id])
    assert len(calls) == 2


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_an_interrupt_ends_a_long_encode_or_decode_within_one_slice(pack, tiny, half, monkeypatch):
    import comfy.model_management as management

    for limit in ("PIXELS_AT_ONCE", "PIXELS_AT_ONCE_ON_CPU"):  # small slices take the less time
        monkeypatch.setattr(pack.module("randar_core.models.tiling"), limit, 2 * 64**2)

    _, vae = pack.run("RandARLoadModel", model_name=tiny.name, weight_dtype="fp32")
    slices = []

    def interrupt(*_):
        slices.append(None)
        if len(slices) == 2:
            management.interrupt_current_processing()

    getattr(vae.tokenizer, half).register_forward_hook(interrupt)
    with pytest.raises(management.InterruptProcessingException):
        if half == "encoder":
            vae.encode(torch.zeros(8, 64, 64, 3))
        else:
            vae.decode(torch.ones(8, 4, 16, 16))
    assert len(slices) == 2
