"""The nodes that choose what a picture shows: a class, several, a blend, regions, a sweep from one class to another."""

import re
from functools import lru_cache

from comfy_api.latest import io

from ..randar_core.checkpoints.detect import detect
from ..randar_core.checkpoints.locate import BUILTIN
from ..randar_core.checkpoints.model import class_names_of
from ..randar_core.checkpoints.weights import read_weights
from ..randar_core.classes import imagenet_classes
from .class_prompts import ClassLabel, ClassPrompt, Region, plain_blends
from .convert import masks_of
from .sockets import ClassSocket

OF_BUILTIN = "built-in: "  # the beginning of an entry
BLEND_FIRST = "Blend or sweep the classes first, then give the result to RandAR Class Region."


@lru_cache(maxsize=1)
def listed_classes() -> dict[str, ClassLabel]:
    """Every entry of the class list by its label: the built-in model's classes first, then ImageNet's."""
    builtin = class_names_of(detect(read_weights(BUILTIN))) if BUILTIN.is_file() else ()
    entries = [(f"{OF_BUILTIN}{name}", i, builtin) for i, name in enumerate(builtin)]
    entries += [(f"{i}: {name}", i, imagenet_classes()) for i, name in enumerate(imagenet_classes())]
    return {label: ClassLabel(label, i, vocabulary) for label, i, vocabulary in entries}


def listed_class(label: str) -> ClassLabel:
    """An entry of the class list. Raises ValueError for an unknown one, as older workflows have them."""
    entries = listed_classes()
    if label in entries:
        return entries[label]
    if not label.startswith(OF_BUILTIN):
        raise ValueError(f"The class list has no entry '{label}'. Choose one of the list.")
    names = ", ".join(entry.removeprefix(OF_BUILTIN) for entry in entries if entry.startswith(OF_BUILTIN))
    if not names:
        raise ValueError(
            f"'{label}' is a class of the built-in model, which this copy of the pack lacks. Install the pack again."
        )
    raise ValueError(
        f"The built-in model doesn't know the class '{label.removeprefix(OF_BUILTIN)}'. Since version 0.2.0 it draws "
        f"landscapes: {names}. Choose one of these. A model of the shapes that it drew before can be trained, "
        "on the set `procedural-shapes`: see `randar train --help`."
    )


class RandARClass(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARClass",
            display_name="RandAR Class",
            category="RandAR",
            description="Chooses what a picture shows. Chain several of these nodes to draw a batch of different "
            "classes.",
            search_aliases=["class", "label", "imagenet", "class label", "conditioning", "prompt"],
            inputs=[
                io.Combo.Input(
                    "class_name",
                    options=list(listed_classes()),
                    tooltip="The class. Type to search by name or number. Entries with 'built-in' belong to the "
                    "built-in model, entries with a number to models trained on ImageNet.",
                ),
                ClassSocket.Input(
                    "classes",
                    optional=True,
                    tooltip="Classes that come before this one: the batch gets one picture of each.",
                ),
            ],
            outputs=[ClassSocket.Output(display_name="classes", tooltip="The class, after those that came in.")],
        )

    @classmethod
    def validate_inputs(cls, class_name):
        """In place of ComfyUI's own check, whose message doesn't say which classes there are."""
        if class_name is None:  # it comes from another node, which hasn't run yet
            return True
        try:
            listed_class(str(class_name))
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, class_name, classes=()) -> io.NodeOutput:
        return io.NodeOutput((*classes, ClassPrompt.of(listed_class(class_name))))


class RandARClassList(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARClassList",
            display_name="RandAR Class List",
            category="RandAR",
            description="Several classes for one batch, written as names or numbers. It also takes the classes of "
            "models that you trained.",
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
                ClassSocket.Input("classes", optional=True, tooltip="Classes that come before these."),
            ],
            outputs=[ClassSocket.Output(display_name="classes", tooltip="The classes, after those that came in.")],
        )

    @classmethod
    def execute(cls, class_list, classes=()) -> io.NodeOutput:
        labels = [label.strip() for label in re.split(r"[,\n]", class_list) if label.strip()]
        if not labels:
            raise ValueError("The class list is empty. Write names or numbers, such as: golden retriever, 88")
        entries = listed_classes()
        named = (
            listed_class(label) if label in entries or label.startswith(OF_BUILTIN) else ClassLabel(label)
            for label in labels
        )
        return io.NodeOutput((*classes, *map(ClassPrompt.of, named)))


class RandARClassBlend(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARClassBlend",
            display_name="RandAR Class Blend",
            category="RandAR",
            description="Mixes two classes into one: the model draws something between them.",
            search_aliases=["blend classes", "mix", "average", "interpolate", "conditioning average", "hybrid"],
            inputs=[
                ClassSocket.Input("first", tooltip="A class or a blend. Of several, each is blended in turn."),
                ClassSocket.Input("second", tooltip="The class or blend that is mixed in. Several are used in turn."),
                io.Float.Input(
                    "weight",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=0.001,
                    tooltip="The share of the second: 0 is the first alone, 1 the second alone.",
                ),
                ClassSocket.Input("classes", optional=True, tooltip="Classes that come before the blend."),
            ],
            outputs=[ClassSocket.Output(display_name="classes", tooltip="The blend, after the classes that came in.")],
        )

    @classmethod
    def execute(cls, first, second, weight, classes=()) -> io.NodeOutput:
        if not 0 <= weight <= 1:
            raise ValueError(f"The weight of the second class is {weight}; it must be a number from 0 to 1.")
        a, b = plain_blends(first, "first", BLEND_FIRST), plain_blends(second, "second", BLEND_FIRST)
        pairs = ((a[i % len(a)], b[i % len(b)]) for i in range(max(len(a), len(b))))
        return io.NodeOutput((*classes, *(ClassPrompt(one.mixed(other, weight)) for one, other in pairs)))


class RandARClassRegion(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARClassRegion",
            display_name="RandAR Class Region",
            category="RandAR",
            description="Confines a class to a part of the picture. Chain several of these nodes for several parts.",
            search_aliases=["regional prompt", "area", "conditioning set mask", "class mask", "compose", "layout"],
            inputs=[
                ClassSocket.Input("classes", tooltip="The class or blend that the mask is for."),
                io.Mask.Input(
                    "mask",
                    tooltip="Where the class counts, and how much. It may have any size and is scaled to the picture. "
                    "Where regions overlap they share.",
                ),
                ClassSocket.Input(
                    "background",
                    optional=True,
                    tooltip="What is drawn outside the mask: a class or a blend. Another RandAR Class Region here adds "
                    "this region to its regions. Without it the model draws anything there.",
                ),
            ],
            outputs=[
                ClassSocket.Output(
                    display_name="classes", tooltip="The picture's classes and where each of them counts."
                )
            ],
        )

    @classmethod
    def execute(cls, classes, mask, background=None) -> io.NodeOutput:
        blends = plain_blends(classes, "classes", "Connect other regions to `background`.")
        masks, grounds = masks_of(mask).cpu(), background or (ClassPrompt(None),)
        if empty := [str(i) for i, each in enumerate(masks) if not each.any()]:
            which = "The mask covers" if len(masks) == 1 else f"The masks {', '.join(empty)} of the batch cover"
            raise ValueError(f"{which} nothing, so no pixel would show the class. Paint the region in the mask.")
        count = max(len(blends), len(masks), len(grounds))
        regions = [Region(blends[i % len(blends)], masks[i % len(masks)]) for i in range(count)]
        shared = [classes[i % len(classes)].shares_noise for i in range(count)]
        return io.NodeOutput(tuple(grounds[i % len(grounds)].with_region(regions[i], shared[i]) for i in range(count)))


class RandARClassSweep(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARClassSweep",
            display_name="RandAR Class Sweep",
            category="RandAR",
            description="A batch that goes from one class to another in even steps. All its pictures have the random "
            "numbers of the first, so that only the class changes.",
            search_aliases=["morph", "interpolation", "transition", "animate classes", "class travel", "batch blend"],
            inputs=[
                ClassSocket.Input("first", tooltip="The class or blend of the first picture."),
                ClassSocket.Input("last", tooltip="The class or blend of the last picture."),
                io.Int.Input(
                    "count", default=8, min=2, max=4096, tooltip="How many pictures, the first and the last included."
                ),
                ClassSocket.Input("classes", optional=True, tooltip="Classes that come before the sweep."),
            ],
            outputs=[ClassSocket.Output(display_name="classes", tooltip="The sweep, after the classes that came in.")],
        )

    @classmethod
    def execute(cls, first, last, count, classes=()) -> io.NodeOutput:
        ends = [plain_blends(end, name, BLEND_FIRST) for name, end in (("first", first), ("last", last))]
        for name, blends in zip(("first", "last"), ends, strict=True):
            if len(blends) != 1:
                raise ValueError(
                    f"A sweep goes from one class to one other; the input `{name}` has {len(blends)} classes. Connect "
                    "a single RandAR Class or RandAR Class Blend."
                )
        (start,), (end,) = ends
        steps = (ClassPrompt(start.mixed(end, i / (count - 1)), shares_noise=i > 0) for i in range(count))
        return io.NodeOutput((*classes, *steps))
