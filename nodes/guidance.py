"""Guidance: how strongly the class is enforced while a picture fills."""

from comfy_api.latest import io

from ..randar_core.decoding.guidance import Linear, PowerCosine
from .sockets import GuidanceSocket

SCHEDULES = ("linear", "constant", "cosine")


class RandARGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARGuidance",
            display_name="RandAR Guidance",
            category="RandAR",
            description="Sets a guidance schedule, used instead of the model's own schedule and of cfg.",
            search_aliases=["cfg", "cfg schedule", "guidance scale", "classifier-free guidance", "cfg rescale"],
            inputs=[
                io.Combo.Input(
                    "course",
                    options=list(SCHEDULES),
                    tooltip="The form of the schedule. linear: from start to end while the picture fills (RandAR's "
                    "own). constant: end throughout. cosine: from 1 to end, later with a greater power (RAR's own).",
                ),
                io.Float.Input(
                    "start",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance scale at the first token, for the linear schedule. 1 is no guidance.",
                ),
                io.Float.Input(
                    "end",
                    default=4.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance scale at the last token. A higher one follows the class more closely and varies "
                    "less.",
                ),
                io.Float.Input(
                    "power",
                    default=2.5,
                    min=0.0,
                    max=20.0,
                    step=0.05,
                    round=0.001,
                    advanced=True,
                    tooltip="How late the cosine schedule rises. RAR-B 2.75, L 2.5, XL 1.5, XXL 1.2.",
                ),
            ],
            outputs=[GuidanceSocket.Output(display_name="guidance", tooltip="The guidance schedule, for a sampler.")],
        )

    @classmethod
    def execute(cls, course, start, end, power=2.5) -> io.NodeOutput:
        schedules = {"linear": Linear(start, end), "constant": Linear(end, end), "cosine": PowerCosine(end, power)}
        return io.NodeOutput(schedules[course])
