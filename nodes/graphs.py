"""CUDA graphs inside ComfyUI: kept as long as the weights stay where they were captured, and counted with them."""

import comfy.model_patcher

from ..randar_core.models.graphs import GraphedRandAR


class GraphedPatcher(comfy.model_patcher.ModelPatcher):
    """The patcher of a GraphedRandAR. What the graphs keep counts as loaded, and goes before the weights do.

    Not a CoreModelPatcher: that may be the dynamic one, which takes weights back at any time, even during a decode.
    """

    model: GraphedRandAR

    def model_size(self):
        return super().model_size() + self.model.kept_bytes + self.model.pool_bytes

    def loaded_size(self):
        return super().loaded_size() + self.model.kept_bytes + self.model.pool_bytes

    def clone(self, *settings, **named):
        own = super().clone(*settings, **named)
        own.size = self.size  # of the weights: what graphs keep is counted when it is asked for
        return own

    def partially_unload(self, device_to, memory_to_free=0, **settings):
        # Not the pool: the host counts as free what torch reserves and doesn't use.
        freed = self.model.kept_bytes
        self.model.release()
        if freed >= memory_to_free > 0:
            return freed
        return freed + super().partially_unload(device_to, max(0, memory_to_free - freed), **settings)

    def unpatch_model(self, device_to=None, unpatch_weights=True):
        if unpatch_weights:  # else the weights stay: so ComfyUI prepares a loaded model for its next run
            self.model.release()
        super().unpatch_model(device_to, unpatch_weights)
