"""Hostile and broken files of weights, by kind. Each function writes one into a folder and returns it.

Code in them would make the folder `canary`, which must not exist afterwards.
"""

import argparse
import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save, save_file

KINDS: dict[str, Callable] = {}


def kind(function: Callable) -> Callable:
    KINDS[function.__name__] = function
    return function


def kinds(names: dict[str, object]) -> Callable:
    """One kind for each of `names`: the function takes its value as another argument."""

    def add(function: Callable) -> Callable:
        for name, value in names.items():
            KINDS[f"{function.__name__}: {name}"] = lambda folder, model, value=value: function(folder, model, value)
        return function

    return add


class Model:
    """A small transformer to spoil: its weights, configuration and the bytes of its file."""

    def __init__(self, network: torch.nn.Module):
        self.state = {key: value.detach().clone() for key, value in network.state_dict().items()}
        self.config = asdict(network.config)
        self.metadata = {"config": json.dumps(self.config)}
        self.content = save(self.state, self.metadata)


# Code in pickles


class Reduced:
    """Calls `function(*arguments)` when it is unpickled without care."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def global_call(module: str, name: str, *arguments, protocol: int = 2) -> bytes:
    """A pickle, written by hand, that calls `module.name(*arguments)`."""
    body = b"".join(pickle.dumps(argument, protocol)[2:-1] for argument in arguments)
    if protocol >= 4:
        body = b"".join(text(argument) for argument in arguments)
        return b"\x80\x04" + text(module) + text(name) + b"\x93(" + body + b"tR."
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(" + body + b"tR."


def text(value: object) -> bytes:
    content = str(value).encode()
    return b"X" + struct.pack("<I", len(content)) + content


def canary_of(folder: Path) -> str:
    return str(folder / "canary")


def zipped(path: Path, pickled: bytes, entries: dict[str, bytes] | None = None, root: str = "archive") -> Path:
    """A checkpoint in the zip format with that pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{root}/data.pkl", pickled)
        archive.writestr(f"{root}/version", b"3\n")
        archive.writestr(f"{root}/byteorder", b"little")
        for name, content in (entries or {}).items():
            archive.writestr(name, content)
    return path


CALLS = {
    "os.mkdir": lambda c: ("os", "mkdir", c),
    "posix.mkdir": lambda c: ("posix", "mkdir", c),
    "os.system": lambda c: ("os", "system", f"mkdir '{c}'"),
    "subprocess.Popen": lambda c: ("subprocess", "Popen", f"mkdir '{c}'"),
    "builtins.exec": lambda c: ("builtins", "exec", f"__import__('os').mkdir({c!r})"),
    "builtins.eval": lambda c: ("builtins", "eval", f"__import__('os').mkdir({c!r})"),
    "__builtin__.eval": lambda c: ("__builtin__", "eval", f"__import__('os').mkdir({c!r})"),
    "builtins.getattr": lambda c: ("builtins", "getattr", "os", "mkdir"),
    "builtins.open": lambda c: ("builtins", "open", f"{c}", "w"),
    "pathlib.Path.touch": lambda c: ("pathlib", "Path.mkdir", c),
    "runpy.run_path": lambda c: ("runpy", "run_path", c),
    "importlib.import_module": lambda c: ("importlib", "import_module", "antigravity"),
    "torch.load": lambda c: ("torch", "load", c),
    "torch.hub.load": lambda c: ("torch.hub", "load", c, "model"),
    "torch.serialization.load": lambda c: ("torch.serialization", "load", c),
    "numpy.load": lambda c: ("numpy", "load", c),
    "pickle.loads": lambda c: ("pickle", "loads", "x"),
    "shutil.rmtree": lambda c: ("shutil", "rmtree", c),
    "collections.OrderedDict.fromkeys": lambda c: ("collections", "OrderedDict.fromkeys", c),
    "dotted within a known module": lambda c: ("torch._utils", "sys.modules.get", "os"),
    "copyreg._reconstructor": lambda c: ("copyreg", "_reconstructor", c),
    "a name with a line break": lambda c: ("os", "mkdir ", c),
}


@kinds(CALLS)
def calls_code_in_protocol_2(folder, model, call):
    return zipped(folder / "m.pt", global_call(*call(canary_of(folder))))


@kinds({name: CALLS[name] for name in ("os.mkdir", "builtins.exec", "dotted within a known module")})
def calls_code_in_protocol_4(folder, model, call):
    return zipped(folder / "m.pt", global_call(*call(canary_of(folder)), protocol=4))


@kinds({name: CALLS[name] for name in ("os.mkdir", "builtins.exec")})
def calls_code_in_a_bare_pickle(folder, model, call):
    (folder / "m.bin").write_bytes(global_call(*call(canary_of(folder))))
    return folder / "m.bin"


@kind
def code_next_to_the_weights(folder, model):
    trap = Reduced(os.mkdir, canary_of(folder))
    torch.save({"model": model.state, "args": argparse.Namespace(trap=trap)}, folder / "m.pt")
    return folder / "m.pt"


@kind
def code_in_the_metadata_of_a_state_dict(folder, model):
    state = OrderedDict(model.state)
    state._metadata = {"": Reduced(os.mkdir, canary_of(folder))}
    torch.save(state, folder / "m.pt")
    return folder / "m.pt"


@kind
def code_in_the_legacy_format(folder, model):
    state = {**model.state, "trap": Reduced(os.mkdir, canary_of(folder))}
    torch.save(state, folder / "m.pt", _use_new_zipfile_serialization=False)
    return folder / "m.pt"


@kind
def code_in_the_header_of_the_legacy_format(folder, model):
    (folder / "m.pt").write_bytes(pickle.dumps(Reduced(os.mkdir, canary_of(folder)), 2) + bytes(100))
    return folder / "m.pt"


@kind
def a_pickle_within_a_pickle(folder, model):
    inner = pickle.dumps(Reduced(os.mkdir, canary_of(folder)))
    torch.save({"model": model.state, "more": Reduced(pickle.loads, inner)}, folder / "m.pt")
    return folder / "m.pt"


@kind
def code_as_the_rebuilder_of_a_tensor(folder, model):
    """`_rebuild_from_type_v2` calls what it is given."""
    inner = b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nmkdir\nNX" + struct.pack("<I", 6) + b"canarytNtR."
    return zipped(folder / "m.pt", b"\x80\x02" + inner)


@kinds({"INST": (b"(", b"ios\nmkdir\n."), "OBJ": (b"(cos\nmkdir\n", b"o."), "EXT1": (b"\x82\x01(", b"tR.")})
def rare_opcodes(folder, model, around):
    before, after = around
    return zipped(folder / "m.pt", b"\x80\x02" + before + text("canary") + after)


@kind
def state_set_on_a_known_class(folder, model):
    """BUILD on an OrderedDict and on a Namespace with names that mean something to Python."""
    state = {"__class__": "x", "__reduce__": "x", "__setstate__": "x", "items": 5, "values": 5}
    build = pickle.dumps(state, 2)[2:-1]
    return zipped(folder / "m.pt", b"\x80\x02ccollections\nOrderedDict\n)R" + build + b"b.")


@kinds({name: name for name in ("torch._utils\n_rebuild_tensor_v2", "_codecs\nencode", "torch\ndevice", "torch\nSize")})
def state_set_on_a_function(folder, model, name):
    """BUILD on what a name leads to, for later files to meet."""
    state = b"(N}" + text("__defaults__") + b")s" + text("call") + b"Nst"
    return zipped(folder / "m.pt", b"\x80\x02c" + name.encode() + b"\n" + state + b"b.")


@kinds({name: name for name in ("collections\nOrderedDict", "argparse\nNamespace", "builtins\nset")})
def state_set_on_a_class(folder, model, name):
    state = b"(N}" + text("__init__") + b"Ns" + text("__setstate__") + b"Nst"
    return zipped(folder / "m.pt", b"\x80\x02c" + name.encode() + b"\n" + state + b"b.")


@kinds({"a text": b"X\x01\0\0\0a", "a number": b"K\x01", "a short tuple": b"X\x07\0\0\0storage\x85"})
def persistent_ids_that_are_none(folder, model, pid):
    return zipped(folder / "m.pt", b"\x80\x02" + pid + b"Q.")


@kind
def a_program_of_torchscript(folder, model):
    torch.jit.script(torch.nn.Linear(2, 2)).save(folder / "m.pt")
    return folder / "m.pt"


# Pickles that lie


def tensor_pickle(shape: str, strides: str, offset: int = 0, size: int = 4) -> bytes:
    """One tensor under the key `a`, in opcodes of protocol 0 to 2; shape and strides are tuples of digits."""
    numbers = [b"(" + b"".join(f"L{n}L\n".encode() for n in side.split()) + b"t" for side in (shape, strides)]
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + f"L{size}L\ntQ".encode()
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + f"L{offset}L\n".encode() + numbers[0] + numbers[1]
    return b"\x80\x02}" + text("a") + call + b"I00\nccollections\nOrderedDict\n)RtRs."


@kinds(
    {
        "a huge shape": ("1000000000000", "1", 0, 4),
        "a shape beyond 64 bits": ("100000000000000000000000", "1", 0, 4),
        "a negative shape": ("-1", "1", 0, 4),
        "negative strides": ("2 2", "-1 -1", 3, 4),
        "strides beyond the storage": ("2 2", "9 9", 0, 4),
        "an offset beyond the storage": ("2", "1", 3, 4),
        "a negative offset": ("2", "1", -2, 4),
        "fewer strides than sizes": ("2 2", "1", 0, 4),
        "strides of zero over a million rows": ("1000000 1000000", "0 0", 0, 4),
        "a storage beyond the file": ("2", "1", 0, 1_000_000),
        "a storage of negative size": ("2", "1", 0, -4),
        "a storage of size beyond 64 bits": ("2", "1", 0, 10**30),
    }
)
def tensors_that_cannot_be(folder, model, numbers):
    return zipped(folder / "m.pt", tensor_pickle(*numbers), {"archive/data/0": struct.pack("<4f", 1, 2, 3, 4)})


@kind
def a_storage_that_is_missing(folder, model):
    return zipped(folder / "m.pt", tensor_pickle("2", "1"))


@kind
def a_tensor_over_a_text(folder, model):
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + text("0") + b"K\x00(K\x01t(K\x01tI00\nNtR"
    return zipped(folder / "m.pt", b"\x80\x02}" + text("a") + call + b"s.")


@kind
def an_object_that_holds_itself(folder, model):
    loop: dict = {}
    loop["model"] = loop["state_dict"] = loop
    torch.save(loop, folder / "m.pt")
    return folder / "m.pt"


@kinds({"lists": b"]" * 100_000 + b"a" * 99_999, "tuples": b")" + b"\x85" * 100_000})
def nested_a_hundred_thousand_deep(folder, model, opcodes):
    return zipped(folder / "m.pt", b"\x80\x02" + opcodes + b".")


@kind
def a_key_nested_a_hundred_thousand_deep(folder, model):
    return zipped(folder / "m.pt", b"\x80\x02})" + b"\x85" * 100_000 + b"K\x01s.")


@kind
def a_text_that_claims_to_be_huge(folder, model):
    return zipped(folder / "m.pt", b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a.")


@kind
def a_frame_that_claims_to_be_huge(folder, model):
    return zipped(folder / "m.pt", b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}.")


@kind
def keys_that_are_no_texts(folder, model):
    torch.save({1: torch.ones(2), None: torch.ones(2), ("a",): torch.ones(2)}, folder / "m.pt")
    return folder / "m.pt"


@kinds({"sparse": torch.eye(3).to_sparse(), "meta": torch.empty(3, device="meta"), "complex": torch.ones(2) * 1j})
def tensors_of_other_kinds(folder, model, tensor):
    torch.save({**model.state, "norm.weight": tensor}, folder / "m.pt")
    return folder / "m.pt"


# Archives that lie


@kind
def two_pickles_in_one_archive(folder, model):
    return zipped(folder / "m.pt", pickle.dumps({}, 2), {"other/data.pkl": global_call("os", "mkdir", "canary")})


@kind
def an_archive_with_names_that_climb(folder, model):
    return zipped(folder / "m.pt", tensor_pickle("2", "1"), {"archive/data/../../../0": bytes(16)})


@kind
def a_compressed_archive_that_swells(folder, model):
    with zipfile.ZipFile(folder / "m.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor_pickle("2", "1"))
        archive.writestr("archive/data/0", bytes(20_000_000))
    return folder / "m.pt"


@kinds({str(share): share for share in (0.1, 0.5, 0.9, 0.999)})
def a_cut_archive(folder, model, share):
    torch.save(model.state, file := io.BytesIO())
    (folder / "m.pt").write_bytes(file.getvalue()[: int(share * len(file.getvalue()))])
    return folder / "m.pt"


@kinds({str(seed): seed for seed in range(12)})
def an_archive_with_changed_bytes(folder, model, seed):
    torch.save({"a": torch.arange(4.0)}, file := io.BytesIO())
    return scrambled(folder / "m.pt", file.getvalue(), seed)


@kinds({str(seed): seed for seed in range(12)})
def a_legacy_file_with_changed_bytes(folder, model, seed):
    torch.save({"a": torch.arange(4.0)}, file := io.BytesIO(), _use_new_zipfile_serialization=False)
    return scrambled(folder / "m.pt", file.getvalue(), seed)


def scrambled(path: Path, content: bytes, seed: int) -> Path:
    """`content` with a few bytes of a seed's choice changed."""
    numbers, changed = random.Random(seed), bytearray(content)
    for _ in range(1 + seed % 4):
        changed[numbers.randrange(len(changed))] = numbers.randrange(256)
    path.write_bytes(changed)
    return path


# Safetensors that lie


def safetensors(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content) if length is None else length) + content + data)
    return path


@kinds(
    {
        "a header beyond the file": (b"{}", b"", 2**40),
        "a header of 2**64 bytes": (b"{}", b"", 2**64 - 1),
        "no header": (b"", b"", 0),
        "a header that is not JSON": (b"{{{{", b"", None),
        "a header that is a list": (b"[1]", b"", None),
        "a header that is not UTF-8": (b'{"\xff\xfe": 1}', b"", None),
        "a header nested deep": (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, b"", None),
        "one key twice": (
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],'
            b'"data_offsets":[4,8]}}',
            bytes(8),
            None,
        ),
    }
)
def headers_that_lie(folder, model, parts):
    return safetensors(folder / "m.safetensors", *parts)


def tensor_header(dtype="F32", shape=(2,), offsets=(0, 8)) -> dict:
    return {"a": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


@kinds(
    {
        "an unknown dtype": tensor_header("F99"),
        "a dtype of four bits": tensor_header("F4", (16,)),
        "offsets beyond the file": tensor_header(offsets=(0, 80), shape=(20,)),
        "offsets that run backwards": tensor_header(offsets=(8, 0)),
        "negative offsets": tensor_header(offsets=(-8, 0)),
        "a hole between offsets": tensor_header(offsets=(4, 8), shape=(1,)),
        "a shape of another size": tensor_header(shape=(3,)),
        "a huge shape": tensor_header(shape=(2**62, 2**62)),
        "a shape whose size overflows to what is there": tensor_header(shape=(2**63 + 1, 2)),
        "overlapping tensors": {**tensor_header(), "b": tensor_header()["a"]},
        "metadata that is not text": {**tensor_header(), "__metadata__": {"config": {"width": 3}}},
        "no tensors": {"__metadata__": {"format": "pt"}},
    }
)
def tensors_that_lie(folder, model, header):
    return safetensors(folder / "m.safetensors", header, bytes(8))


@kinds({str(size): size for size in (0, 1, 7, 8, 9, 100, 3000, -1)})
def a_cut_file(folder, model, size):
    (folder / "m.safetensors").write_bytes(model.content[:size])
    return folder / "m.safetensors"


@kinds({str(seed): seed for seed in range(8)})
def a_file_with_changed_bytes(folder, model, seed):
    return scrambled(folder / "m.safetensors", model.content[:3000], seed)


def spoiled(folder: Path, model: Model, **changes) -> Path:
    tensors = {key: tensor for key, tensor in {**model.state, **changes}.items() if tensor is not None}
    save_file(tensors, folder / "m.safetensors", model.metadata)
    return folder / "m.safetensors"


WEIGHT = "norm.weight"


@kinds({"NaN": torch.nan, "infinite": torch.inf, "minus infinite": -torch.inf})
def weights_that_are(folder, model, value):
    weight = model.state[WEIGHT].clone()
    weight[3] = value
    return spoiled(folder, model, **{WEIGHT: weight})


@kinds({str(dtype): dtype for dtype in (torch.int64, torch.bool, torch.uint8, torch.float8_e4m3fn)})
def weights_of_dtype(folder, model, dtype):
    return spoiled(folder, model, **{WEIGHT: torch.ones(model.state[WEIGHT].shape).to(dtype)})


@kinds({"zero-sized": (0, 32), "a scalar": (), "one dimension more": (32, 1), "another size": (31,)})
def a_weight_of_shape(folder, model, shape):
    return spoiled(folder, model, **{WEIGHT: torch.ones(shape)})


@kinds({"line break": "a\nb", "path": "../../etc/passwd", "terminal": "\x1b[31mred", "very long": "k" * 100_000})
def an_odd_key(folder, model, key):
    return spoiled(folder, model, **{key: torch.ones(1)})


@kind
def thousands_of_keys(folder, model):
    return spoiled(folder, model, **{f"layers.{i}": torch.ones(1) for i in range(2_000)})


@kind
def prefixes_that_collide(folder, model):
    return spoiled(folder, model, **{f"_orig_mod.{key}": value.clone() for key, value in model.state.items()})


# Configurations and bundles that lie


@kinds(
    {
        "a billion layers": {"layers": 10**9},
        "layers beyond 64 bits": {"layers": 10**40},
        "width 0": {"width": 0},
        "negative width": {"width": -32},
        "a huge width": {"width": 10**12},
        "a width beyond 64 bits": {"width": 2**70},
        "a huge grid": {"grid": 10**7},
        "a huge codebook": {"codebook_size": 10**15},
        "heads that don't divide": {"heads": 5},
        "more heads than channels": {"heads": 64},
        "a text": {"grid": "16"},
        "true": {"grid": True},
        "a fraction": {"grid": 4.5},
        "not a number": {"grid": float("nan")},
        "a list": {"grid": [4]},
        "null": {"grid": None},
        "an unknown field": {"__class__": 3},
    }
)
def a_configuration_with(folder, model, changes):
    metadata = {"config": json.dumps(model.config | changes)}
    save_file(model.state, folder / "m.safetensors", metadata)
    return folder / "m.safetensors"


@kinds({"text": "width", "list": "[1]", "nested deep": "[" * 50_000, "digits": '{"width": ' + "9" * 6000 + "}"})
def a_configuration_that_is(folder, model, text):
    save_file(model.state, folder / "m.safetensors", {"config": text})
    return folder / "m.safetensors"


@kinds(
    {
        "another version": {"randar": "2"},
        "a version in words": {"randar": "one"},
        "facts that are a list": {"facts": "[]"},
        "facts nested deep": {"facts": '{"a":' * 50_000},
        "class names that are a number": {"facts": '{"class_names": 5}'},
        "class names that are lists": {"facts": '{"class_names": [[1], [2], [3], [4], [5]]}'},
        "too many class names": {"facts": json.dumps({"class_names": ["a"] * 100_000})},
        "a temperature that is not a number": {"facts": '{"defaults": {"temperature": NaN}}'},
        "an infinite guidance": {"facts": '{"defaults": {"guidance": Infinity}}'},
        "steps in words": {"facts": '{"defaults": {"steps": "many"}}'},
        "defaults that are a list": {"facts": '{"defaults": [1, 2]}'},
        "an order that is a list": {"facts": '{"defaults": {"order": ["raster"]}}'},
        "an unknown order": {"facts": '{"defaults": {"order": "__import__"}}'},
        "an unknown default": {"facts": '{"defaults": {"__class__": 1}}'},
        "a name that is a list": {"facts": '{"name": [[[1]]]}'},
        "a family that is a list": {"decoder": '{"family": ["randar"], "config": {}}'},
        "an unknown family": {"decoder": '{"family": "os", "config": {}}'},
        "a tokenizer without weights": {"tokenizer": '{"family": "llamagen", "config": {}}'},
    }
)
def a_bundle_with(folder, model, changes):
    metadata = {"randar": "1", "facts": "{}", "decoder": json.dumps({"family": "randar", "config": model.config})}
    tensors = {f"decoder.{key}": value for key, value in model.state.items()}
    save_file(tensors, folder / "m.safetensors", metadata | changes)
    return folder / "m.safetensors"


# Files that are no files


@kind
def a_link_to_itself(folder, model):
    (folder / "m.safetensors").symlink_to(folder / "m.safetensors")
    return folder / "m.safetensors"


@kind
def links_in_a_circle(folder, model):
    (folder / "a").symlink_to(folder / "m.safetensors")
    (folder / "m.safetensors").symlink_to(folder / "a")
    return folder / "m.safetensors"


@kind
def a_link_to_nowhere(folder, model):
    (folder / "m.safetensors").symlink_to(folder / "nowhere")
    return folder / "m.safetensors"


@kind
def a_link_to_a_device(folder, model):
    (folder / "m.safetensors").symlink_to("/dev/zero")
    return folder / "m.safetensors"


@kind
def a_folder_with_a_link_to_itself(folder, model):
    (folder / "m.safetensors").mkdir()
    (folder / "m.safetensors" / "model.safetensors").symlink_to(folder / "m.safetensors")
    return folder / "m.safetensors"


@kind
def a_pipe(folder, model):
    os.mkfifo(folder / "m.safetensors")
    return folder / "m.safetensors"


@kind
def an_index_that_names_itself(folder, model):
    index = folder / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": index.name}}))
    return index


@kind
def an_index_that_climbs(folder, model):
    (folder / "m.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../m.safetensors"}}))
    return folder / "m.safetensors.index.json"


@kinds(
    {
        "quotes": "a'b\"c",
        "a line break": "a\nb",
        "accents": "ä🎈",
        "long": "m" * 200,
        "a dash": "-rf",
        "percent": "%s%n",
    }
)
def a_good_file_named_with(folder, model, name):
    path = folder / f"{name}.safetensors"
    path.write_bytes(model.content)
    return path


@kinds({"spaces": b"    ", "zeros": bytes(100), "random": random.Random(0).randbytes(5000), "json": b'{"error": 1}'})
def a_file_of(folder, model, content):
    (folder / "m.pt").write_bytes(content)
    return folder / "m.pt"
