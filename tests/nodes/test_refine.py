"""Refine, Confidence and Heat Map."""

import pytest
import torch


@pytest.mark.parametrize(("forget", "amount"), [("share", 0.25), ("probability", 0.5)])
def test_refining_redraws_some_tokens(run, latent, forget, amount):
    refined, confidence = run("RandARRefine", latent=latent, forget=forget, amount=amount, rounds=2)
    assert refined["samples"].shape == latent["samples"].shape and confidence.shape == (2, 16, 16)
    assert not refined["samples"].equal(latent["samples"])


def test_refining_nothing_changes_nothing(run, latent):
    refined, _ = run("RandARRefine", latent=latent, forget="share", amount=0.0)
    assert refined["samples"].equal(latent["samples"])


@pytest.mark.parametrize(("forget", "amount"), [("share", 0.5), ("share", 1.0), ("probability", 1.0)])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 7)])
def test_refining_keeps_what_lies_outside_of_a_noise_mask(run, model, forget, amount, height, width):
    ids = torch.randint(32, (2, height, width), generator=torch.Generator().manual_seed(5))
    mask = torch.zeros(2, 1, height * 4, width * 4)
    mask[:, :, 4:12, 2:11] = 1  # cells 1…2 of both axes, and the column before by half
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[1:3, 0:3] = True
    latent = {"samples": model.vae.vectors(ids), "noise_mask": mask}
    for rounds in (1, 3):
        refined, _ = run("RandARRefine", latent=latent, forget=forget, amount=amount, rounds=rounds)
        changed = model.vae.ids(refined["samples"]) != ids
        assert not changed[:, ~inside].any() and changed[:, inside].any()
        if rounds == 1:
            assert (changed.sum((1, 2)) <= round(amount * 6)).all()
        assert refined["noise_mask"] is mask


def test_refining_under_an_empty_noise_mask_changes_nothing(run, latent):
    masked = latent | {"noise_mask": torch.zeros(1, 64, 64)}
    assert run("RandARRefine", latent=masked, forget="share", amount=1.0)[0]["samples"].equal(latent["samples"])


def test_without_a_noise_mask_the_node_refines_as_the_core_does(pack, run, model, latent, reports):
    refine, options_for = pack.module("randar_core.tasks.refine").refine, pack.module("nodes.widgets").options_for
    refined, confidence = run("RandARRefine", latent=latent, forget="share", amount=0.5, rounds=2)
    options, counted = options_for(model, [0, 1], seed=1, steps=4, cfg=2.0), []
    expected = refine(
        model.transformer,
        model.vae.ids(latent["samples"]),
        torch.tensor([2, 2]),
        options,
        share=0.5,
        rounds=2,
        on_step=lambda progress: counted.append((progress.call, progress.calls)),
    )
    assert model.vae.ids(refined["samples"]).equal(expected.ids)
    assert confidence[:, ::4, ::4].equal(expected.confidence)
    told = [report[:2] for report in reports]  # ComfyUI leaves out what comes too fast
    assert told[-1] == counted[-1] and told == [call for call in counted if call in told]


def test_scoring_a_large_picture_is_interrupted(pack, model, monkeypatch):
    import comfy.model_management as management

    star = pack.run("RandARClassList", class_list="star")[0]
    progress, told = pack.module("nodes.progress").Progress, []
    report = progress.on_score

    def interrupted(self, done, of):
        told.append((done, of))
        management.interrupt_current_processing()
        return report(self, done, of)

    monkeypatch.setattr(progress, "on_score", interrupted)
    latent = model.vae.vectors(torch.randint(model.vae.codebook.size, (1, 3 * model.grid, model.grid)))
    with pytest.raises(management.InterruptProcessingException):
        pack.run("RandARConfidence", model=model, classes=star, latent={"samples": latent}, cfg=1.0)
    assert told == [(1, 3)]


@pytest.mark.parametrize("node_id", ["RandARRefine", "RandARConfidence"])
def test_one_picture_is_judged_under_several_classes(pack, model, latent, node_id):
    """The last of them counts as much as the first, and each gives what it gives alone."""
    one = {"samples": latent["samples"][:1], "noise_mask": torch.ones(1, 16, 16)}
    given = {"model": model, "latent": one, "cfg": 1.0}
    if node_id == "RandARRefine":
        given |= {"forget": "share", "amount": 0.0, "seed": 1, "steps": 4}
    star, circle, both = (
        pack.run("RandARClassList", class_list=names)[0] for names in ("star", "circle", "star, circle")
    )
    together = pack.run(node_id, classes=both, **given)
    assert len(together[0]["samples"] if node_id == "RandARRefine" else together[0]) == len(together[1]) == 2
    torch.testing.assert_close(together[1][:1], pack.run(node_id, classes=star, **given)[1])
    again = one | {"batch_index": [1]}  # the index that the repeated picture has
    torch.testing.assert_close(together[1][1:], pack.run(node_id, classes=circle, **(given | {"latent": again}))[1])


def test_confidence_is_a_mask_and_a_picture(pack, model, latent):
    star = pack.run("RandARClassList", class_list="star")[0]
    confidence, heat_map = pack.run("RandARConfidence", model=model, classes=star, latent=latent, cfg=1.0)
    assert confidence.shape == (2, 16, 16) and 0 < confidence.min() and confidence.max() < 1
    assert heat_map.shape == (2, 16, 16, 3)
    assert pack.run("RandARHeatMap", confidence=confidence)[0].equal(heat_map)
