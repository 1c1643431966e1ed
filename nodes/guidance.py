"""Guidance: how strongly the class is enforced while a picture fills."""

from comfy_api.latest import io

from ..randar_core.decoding.guidance import Linear, PowerCosine
from .sockets import RandARGuidance

COURSES = ("linear", "constant", "cosine")


class ChooseGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARGuidance",
            display_name="RandAR Guidance",
            category="RandAR",
            description="Sets the course of the guidance over a run, in place of the model's own and of cfg.",
            search_aliases=["cfg", "cfg schedule", "guidance scale", "classifier-free guidance", "cfg rescale"],
            inputs=[
                io.Combo.Input(
                    "course",
                    options=list(COURSES),
                    tooltip="linear: from start to end as the picture fills (RandAR's own). constant: end throughout. "
                    "cosine: from 1 to end, the later the greater the power (RAR's own).",
                ),
                io.Float.Input(
                    "start",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance at the first token. Only the linear course has one; 1 is none.",
                ),
                io.Float.Input(
                    "end",
                    default=4.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance at the last token. Higher follows the class more closely and varies less.",
                ),
                io.Float.Input(
                    "power",
                    default=2.5,
                    min=0.0,
                    max=20.0,
                    step=0.05,
                    round=0.001,
                    advanced=True,
                    tooltip="How late the cosine course rises. RAR-B 2.75, L 2.5, XL 1.5, XXL 1.2.",
                ),
            ],
            outputs=[RandARGuidance.Output(display_name="guidance", tooltip="The guidance, for a sampler.")],
        )

    @classmethod
    def execute(cls, course, start, end, power=2.5) -> io.NodeOutput:
        courses = {"linear": Linear(start, end), "constant": Linear(end, end), "cosine": PowerCosine(end, power)}
        return io.NodeOutput(courses[course])
