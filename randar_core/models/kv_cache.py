"""The KV cache of a decode. It is allocated for one decode and freed with it."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class KVCache:
    """Keys and values of all layers: `data` `[layers, 2, R, H, slots, d]`. The first `length` slots are set."""

    data: Tensor
    length: int = 0

    @classmethod
    def allocate(cls, like: Tensor, layers: int, rows: int, heads: int, slots: int, head_width: int) -> "KVCache":
        """An empty cache.

        like: a tensor of its dtype and device.
        layers: that have keys and values.
        rows: R, the sequences of the batch.
        heads, head_width: H and d.
        slots: positions that it has room for.
        """
        return cls(like.new_empty(layers, 2, rows, heads, slots, head_width))

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write `key` and `value` `[R, H, T, d]` of a layer behind the set slots; returns all `[R, H, length + T, d]`.

        What is written is overwritten by the next call unless `advance` makes it part of the cache.
        """
        end = self.length + key.shape[2]
        keys, values = self.data[layer].unbind(0)
        keys[:, :, self.length : end], values[:, :, self.length : end] = key, value
        return keys[:, :, :end], values[:, :, :end]

    def update_pair(self, layer: int, key_value: Tensor) -> tuple[Tensor, Tensor]:
        """`update` with keys and values in one tensor `[2, R, H, T, d]`, which is one copy."""
        layer_data = self.data[layer].narrow(3, 0, self.length + key_value.shape[3])
        layer_data.narrow(3, self.length, key_value.shape[3]).copy_(key_value)
        return layer_data.unbind(0)

    def advance(self, count: int) -> None:
        """Keep the first `count` slots of those that this call wrote."""
        self.length += count
