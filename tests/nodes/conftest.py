"""What the tests of several nodes share: the tiny model's class star, a run of a node with few steps, pictures."""

import pytest
import torch


@pytest.fixture
def star(pack):
    return pack.run("RandARClassList", class_list="star")[0]


@pytest.fixture
def run(pack, model, star):
    """Run a node with the tiny model, the class star and a few steps."""
    common = {"model": model, "classes": star, "seed": 1, "steps": 4, "cfg": 2.0}
    return lambda node_id, **inputs: pack.run(node_id, **(common | inputs))


@pytest.fixture
def sample(run):
    """Run the sampler: its latent and confidence."""
    return lambda **inputs: run("RandARSampler", **inputs)


@pytest.fixture
def picture():
    """An IMAGE that is larger than the model's own, with sides that are no multiples of a token."""
    return torch.rand(1, 40, 53, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model_picture(model):
    """An IMAGE of the model's own size whose tokens differ from cell to cell."""
    ids = torch.randint(32, (1, 4, 4), generator=torch.Generator().manual_seed(5))
    return model.vae.decode(model.vae.vectors(ids))


@pytest.fixture
def latent(model):
    """A LATENT of two pictures of the model's own size."""
    ids = torch.randint(32, (2, 4, 4), generator=torch.Generator().manual_seed(5))
    return {"samples": model.vae.vectors(ids)}
