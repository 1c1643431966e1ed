"""Sets of many pictures, as evaluators read them."""

import tracemalloc

import pytest
import torch

from randar_core.io.sample_set import SampleSet, remaining_batches


def test_missing_shards_are_told(tmp_path):
    shards = SampleSet(tmp_path / "set.npz", {})
    shards.begin(resume=False)
    shards.add([0], torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="1 of 2 pictures are missing .* the first is 7"):
        shards.assemble({0: 0, 7: 0})


def test_a_set_is_assembled_without_being_held_in_memory(tmp_path):
    shards = SampleSet(tmp_path / "set.npz", {})
    shards.begin(resume=False)
    for shard in range(16):
        shards.add([2 * shard, 2 * shard + 1], torch.rand(2, 3, 256, 256))
    tracemalloc.start()
    shards.assemble(dict.fromkeys(range(32), 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert shards.path.stat().st_size > 32 * 3 * 256**2
    assert peak < 8 * 3 * 256**2


def test_batches_stay_the_same_whatever_is_finished():
    assert remaining_batches(range(7), {0, 1, 4}, 2) == [[2, 3], [5], [6]]
    assert remaining_batches(range(7), {0, 1, 4}, 2, whole=True) == [[2, 3], [4, 5], [6]]
