"""Orders: what each of them promises, on any grid."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from randar_core.decoding.orders import ORDERS, OrderRequest, Painted, Proximity, check_order, order_named, random
from randar_core.decoding.schedule import call_sizes
from randar_core.decoding.seeding import generator_for

side = st.integers(1, 12)


def request(height: int, width: int, known: int = 0, steps: int = 8, seed: int = 0) -> OrderRequest:
    cells = height * width
    some = torch.zeros(cells, dtype=torch.bool)
    some[torch.randperm(cells, generator=generator_for(seed, "known"))[:known]] = True
    return OrderRequest(height, width, some, call_sizes(cells, steps, known), generator_for(seed, "order"))


def ranks(name: str, height: int, width: int) -> torch.Tensor:
    """When each cell comes, `[h, w]`."""
    return ORDERS[name](request(height, width)).argsort().view(height, width)


@pytest.mark.parametrize("name", ORDERS)
@given(height=side, width=side, known=st.floats(0, 1), steps=st.integers(1, 200), seed=st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_every_order_visits_each_cell_once(name, height, width, known, steps, seed):
    made = ORDERS[name](request(height, width, int(known * height * width), steps, seed))
    assert torch.equal(check_order(made, 1, height * width)[0], made)


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_depends_on_its_seed_alone(name):
    assert torch.equal(ORDERS[name](request(6, 7, 5)), ORDERS[name](request(6, 7, 5)))


def test_the_rasters_are_mirror_images_of_each_other():
    plain = ranks("raster", 3, 4)
    assert torch.equal(plain, torch.arange(12).view(3, 4))
    assert torch.equal(ranks("raster from right", 3, 4), plain.flip(1))
    assert torch.equal(ranks("raster from below", 3, 4), plain.flip(0))
    assert torch.equal(ranks("raster reversed", 3, 4), plain.flip(0, 1))
    assert torch.equal(ranks("columns", 3, 4), ranks("raster", 4, 3).T)


@given(height=side, width=side)
@settings(max_examples=10, deadline=None)
def test_a_spiral_goes_from_cell_to_neighbour(height, width):
    order = ORDERS["spiral in"](request(height, width))
    y, x = order // width, order % width
    assert ((y.diff().abs() + x.diff().abs()) == 1).all()
    assert order[0] == 0
    assert torch.equal(ORDERS["spiral out"](request(height, width)), order.flip(0))


def test_the_hierarchy_goes_from_coarse_to_fine():
    found = ranks("hierarchical", 16, 16)
    assert set(found[::8, ::8].flatten().tolist()) == set(range(4))
    assert set(found[::4, ::4].flatten().tolist()) == set(range(16))
    assert set(found[::2, ::2].flatten().tolist()) == set(range(64))


def test_the_cells_of_a_local_call_are_far_from_one_another_and_near_to_what_is_known():
    asked = request(16, 16, steps=16)
    places = torch.stack([torch.arange(256) // 16, torch.arange(256) % 16], 1).float()

    def distances(order):
        """Of the closest cells within a call, and of a call's cells to what came before it; means over the calls."""
        calls = places[order].split(list(asked.sizes))
        within, before, done = [], [], calls[0]
        for call in calls[1:-1]:
            if len(call) > 1:
                gaps = torch.cdist(call, call) + 99 * torch.eye(len(call))
                within.append(gaps.amin())
            before.append(torch.cdist(call, done).amin(1).mean())
            done = torch.cat([done, call])
        return torch.stack(within).mean(), torch.stack(before).mean()

    local, chance = distances(ORDERS["locality-aware"](asked)), distances(random(asked))
    assert local[0] > chance[0]
    assert local[1] < chance[1]


def test_a_local_order_starts_beside_what_is_known():
    known = torch.zeros(8, 8, dtype=torch.bool)
    known[:, :2] = True
    asked = OrderRequest(8, 8, known.flatten(), [4, 8, 36], generator_for(0, "order"))
    order = ORDERS["locality-aware"](asked)[known.sum() :]
    assert (order[:4] % 8 <= 3).all()


def test_a_painting_says_what_comes_first():
    painting = torch.zeros(4, 6)
    painting[1:3, 2:4] = 1
    painting[0] = 0.5
    order = Painted(painting)(request(4, 6))
    assert set(order[:4].tolist()) == {8, 9, 14, 15}
    assert set(order[4:10].tolist()) == set(range(6))


def test_a_painting_of_another_size_is_scaled_to_the_grid():
    painting = torch.zeros(80, 120)
    painting[:, 100:] = 1
    order = Painted(painting)(request(4, 6))
    assert set(order[:4].tolist()) == {5, 11, 17, 23}


@given(grey=st.floats(0, 1), height=st.integers(1, 40), width=st.integers(1, 40))
@settings(max_examples=10, deadline=None)
def test_a_constant_painting_is_the_random_order(grey, height, width):
    assert torch.equal(Painted(torch.full((height, width), grey))(request(6, 7)), random(request(6, 7)))


def test_a_painting_that_is_no_grey_picture_is_refused():
    with pytest.raises(ValueError, match=r"one grey picture.*\[2, 4, 4\]"):
        Painted(torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match="aren't numbers"):
        Painted(torch.full((4, 4), float("nan")))


def test_a_repulsion_belongs_to_the_order_that_has_one():
    assert order_named("proximity", 3) == Proximity(3) and order_named("raster") is ORDERS["raster"]
    with pytest.raises(ValueError, match="'proximity', not to 'raster'"):
        order_named("raster", 2)
    with pytest.raises(ValueError, match="repulsion is -1 cells"):
        order_named("proximity", -1)
    with pytest.raises(ValueError, match="no order 'rasterr'; choose one of random, raster"):
        order_named("rasterr")
