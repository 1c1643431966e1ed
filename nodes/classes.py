"""Classes: what a picture is to show. A class carries its vocabulary, because ids 0 to 11 exist in more than one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from comfy_api.latest import io

from ..randar_core.checkpoints.detect import detect
from ..randar_core.checkpoints.locate import BUILTIN
from ..randar_core.checkpoints.model import class_names_of
from ..randar_core.checkpoints.weights import read_weights
from ..randar_core.classes import imagenet_classes, resolve_class
from .sockets import RandARClass


@dataclass(frozen=True)
class ChosenClass:
    """A class by its place in a `vocabulary`; or, without one, what the user wrote, to be found in the model's own."""

    label: str
    class_id: int | None = None
    vocabulary: tuple[str, ...] | None = None

    def id_for(self, class_names: tuple[str, ...]) -> int:
        """Its id in a model with `class_names`. Raises ValueError where the model doesn't know the class."""
        if self.vocabulary is None:
            return resolve_class(self.label, class_names)
        if self.vocabulary != class_names:
            raise ValueError(
                f"The connected model doesn't know the class '{self.label}'. It draws {known(class_names)}. "
                "Choose one of these, or load the model that the class belongs to."
            )
        return self.class_id


def known(class_names: tuple[str, ...]) -> str:
    """What a model draws, in a few words."""
    if class_names == imagenet_classes():
        return "the 1000 ImageNet classes ('0: tench' to '999: toilet tissue')"
    shown = ", ".join(class_names[:12])
    return f"its own {len(class_names)} classes: {shown}{', …' if len(class_names) > 12 else ''}"


@lru_cache(maxsize=1)
def choices() -> dict[str, ChosenClass]:
    """Every entry of the list, by its label: the built-in model's classes first, then ImageNet's."""
    builtin = class_names_of(detect(read_weights(BUILTIN))) if BUILTIN.is_file() else ()
    entries = [(f"built-in: {name}", i, builtin) for i, name in enumerate(builtin)]
    entries += [(f"{i}: {name}", i, imagenet_classes()) for i, name in enumerate(imagenet_classes())]
    return {label: ChosenClass(label, i, vocabulary) for label, i, vocabulary in entries}


class ChooseClass(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARClass",
            display_name="RandAR Class",
            category="RandAR",
            description="Chooses what a picture is to show. Chain several to draw a batch of different classes.",
            search_aliases=["class", "label", "imagenet", "class label", "conditioning", "prompt"],
            inputs=[
                io.Combo.Input(
                    "class_name",
                    options=list(choices()),
                    tooltip="The class. Type to search by name or number. Entries with 'built-in' belong to the "
                    "built-in model, numbered ones to models trained on ImageNet.",
                ),
                RandARClass.Input(
                    "classes",
                    optional=True,
                    tooltip="Classes that come before this one: the batch gets one picture of each.",
                ),
            ],
            outputs=[RandARClass.Output(display_name="classes", tooltip="The class, after those that came in.")],
        )

    @classmethod
    def execute(cls, class_name, classes=()) -> io.NodeOutput:
        return io.NodeOutput((*classes, choices()[class_name]))


class ListClasses(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARClassList",
            display_name="RandAR Class List",
            category="RandAR",
            description="Several classes for one batch, written as names or numbers, also for models of your own.",
            search_aliases=["classes", "labels", "batch of classes", "class names", "custom classes"],
            inputs=[
                io.String.Input(
                    "class_list",
                    multiline=True,
                    default="",
                    placeholder="golden retriever, 88, macaw",
                    tooltip="Names or numbers of the connected model's classes, separated by commas or lines. "
                    "The batch gets one picture of each.",
                ),
                RandARClass.Input("classes", optional=True, tooltip="Classes that come before these."),
            ],
            outputs=[RandARClass.Output(display_name="classes", tooltip="The classes, after those that came in.")],
        )

    @classmethod
    def execute(cls, class_list, classes=()) -> io.NodeOutput:
        written = [label.strip() for label in re.split(r"[,\n]", class_list) if label.strip()]
        if not written:
            raise ValueError("The class list is empty. Write names or numbers, such as: golden retriever, 88")
        return io.NodeOutput((*classes, *(choices().get(label, ChosenClass(label)) for label in written)))
