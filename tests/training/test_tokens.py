"""The ids of a set of pictures."""

import pytest
import torch
from tiny_trainings import CPU, TOKENIZER, some_ids, tiny_pictures

from randar_core.models.llamagen import LlamaGenTokenizer
from randar_core.training.tokens import check_ids, encode_pictures, load_tokens, save_tokens


def test_ids_are_kept_for_the_same_pictures_only(tmp_path):
    tokens = encode_pictures(LlamaGenTokenizer(TOKENIZER), tiny_pictures(5, {"a": 1}), CPU)
    assert tokens.ids.shape == (5, 64) and tokens.labels.tolist() == [0, 1, 2, 3, 4]
    save_tokens(tokens, tmp_path / "ids.safetensors")
    assert torch.equal(load_tokens(tmp_path / "ids.safetensors", {"a": 1}).ids, tokens.ids)
    assert load_tokens(tmp_path / "ids.safetensors", {"a": 2}) is None


def test_the_ids_of_another_set_stay_unless_they_may_be_replaced(tmp_path):
    save_tokens(some_ids({"a": 1}), tmp_path / "ids.safetensors")
    check_ids(tmp_path, {"a": 1}, overwrite=False)
    with pytest.raises(ValueError, match="holds the ids of other pictures.*--force"):
        check_ids(tmp_path, {"a": 2}, overwrite=False)
    check_ids(tmp_path, {"a": 2}, overwrite=True)


def test_damaged_ids_are_named(tmp_path):
    (tmp_path / "ids.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="ids.safetensors' is damaged .*Delete it"):
        load_tokens(tmp_path / "ids.safetensors", {})
