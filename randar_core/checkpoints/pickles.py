"""Reading what `torch.save` wrote, without running anything of it.

A pickle is a program: it names functions and calls them. Here each name that it may use leads to a function of
`pickle_names.py`, which makes a plain record, and any other name ends the reading. Tensors stay on the disk, described
by records, until they are asked for.
"""

import io
import mmap
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from .pickle_names import NAMES, PickleError, TensorRecord

ZIP = b"PK\x03\x04"
MAGIC_NUMBER, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of `torch.save` before its zip format
LOCAL_HEADER = 30  # bytes of a zip entry's header before its name and extra field


class Storage(NamedTuple):
    """Where the bytes of tensors are in the file: `size` elements of `dtype` from the byte `start`."""

    dtype: torch.dtype
    start: int
    size: int


class Reader(pickle.Unpickler):
    """An unpickler that knows the names in `NAMES` and no others. `storage` finds the storage of a persistent id."""

    def __init__(self, file: BinaryIO, storage: Callable[[tuple], Storage]):
        super().__init__(file, encoding="latin1")
        self.storage = storage

    def find_class(self, module: str, name: str) -> object:
        module = "builtins" if module == "__builtin__" else module  # as Python 2 called it
        if (module, name) in NAMES:
            return NAMES[module, name]
        raise PickleError(
            f"holds more than weights: it asks for {module}.{name}, and loading that could run code. Nothing of it was "
            "run. Take the file from its authors, or one in the safetensors format"
        )

    def persistent_load(self, pid: object) -> Storage:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], torch.dtype):
            raise PickleError("is not a PyTorch checkpoint: its weights are stored in a way that is not known")
        return self.storage(pid)


class PickledFile:
    """A file of `torch.save`. `content` is what was saved, with records in place of tensors.

    Raises PickleError where the file is cut, damaged, foreign or asks for code.
    """

    def __init__(self, path: Path):
        self.path = path
        self.bytes = path.stat().st_size
        self.legacy: dict[str, Storage] = {}
        try:
            with path.open("rb") as file:
                zipped = file.read(len(ZIP)) == ZIP
                self.content = self.read_zip(file) if zipped else self.read_legacy(file)
                # A private copy: what is written into it doesn't reach the file.
                self.mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (PickleError, OSError):
            raise
        # Damaged bytes can make an unpickler raise anything.
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0][:200]
            raise PickleError(f"is a cut or damaged PyTorch checkpoint. Fetch it again ({reason})") from error

    def read_zip(self, file: BinaryIO) -> object:
        with zipfile.ZipFile(file) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise PickleError(
                    "is a zip archive, but not a checkpoint of `torch.save`. If weights are in it, unpack them"
                )
            root = pickles[0].removesuffix("data.pkl")
            if f"{root}constants.pkl" in entries:
                raise PickleError(
                    "is a TorchScript program, not a file of weights. Take the state dict that it was made from"
                )
            if f"{root}byteorder" in entries and archive.read(f"{root}byteorder") != b"little":
                raise PickleError("was written on a machine of another byte order. Save it as safetensors there")

            def storage(pid: tuple) -> Storage:
                entry = entries.get(f"{root}data/{pid[2]}")
                if entry is None:
                    raise PickleError("lacks a part of its weights: it is damaged. Fetch it again")
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise PickleError("was compressed after it was saved. Unpack it, or fetch it again")
                file.seek(entry.header_offset + LOCAL_HEADER - 4)
                name, extra = struct.unpack("<HH", file.read(4))
                return self.checked(pid, entry.header_offset + LOCAL_HEADER + name + extra, entry.file_size)

            if entries[pickles[0]].compress_type != zipfile.ZIP_STORED:
                raise PickleError("was compressed after it was saved. Unpack it, or fetch it again")
            return Reader(io.BytesIO(archive.read(pickles[0])), storage).load()

    def read_legacy(self, file: BinaryIO) -> object:
        """Three pickles that say what it is, one with the content, one with the keys of the storages, their bytes."""
        file.seek(0)
        found: dict[str, tuple[torch.dtype, int]] = {}

        def not_here(pid: tuple) -> Storage:
            raise PickleError("is not a PyTorch checkpoint: its header refers to weights")

        def storage(pid: tuple) -> object:
            found[str(pid[2])] = pid[1], pid[4]
            return str(pid[2])  # where it lies is known once the pickle is read

        if Reader(file, not_here).load() != MAGIC_NUMBER or Reader(file, not_here).load() != LEGACY_PROTOCOL:
            raise PickleError(
                "is a Python pickle that `torch.save` didn't write. Save its tensors with it, or as safetensors"
            )
        Reader(file, not_here).load()
        content = Reader(file, storage).load()
        for key in Reader(file, not_here).load():
            dtype, size = found[str(key)]
            (stored,) = struct.unpack("<q", file.read(8))
            self.legacy[str(key)] = self.checked(("storage", dtype, key, "cpu", stored), file.tell(), None)
            file.seek(stored * dtype.itemsize, io.SEEK_CUR)
        return content

    def checked(self, pid: tuple, start: int, bytes_there: int | None) -> Storage:
        dtype, size = pid[1], pid[4]
        if type(size) is not int or size < 0:
            raise PickleError("is damaged: it describes weights of a size that can't be. Fetch it again")
        needed = size * dtype.itemsize
        if start + needed > self.bytes or (bytes_there is not None and needed > bytes_there):
            raise PickleError(
                f"is a cut or damaged PyTorch checkpoint: its {self.bytes} bytes end before its weights do"
            )
        return Storage(dtype, start, size)

    def tensor(self, record: TensorRecord) -> Tensor:
        """The tensor of a record, mapped from the disk. Raises PickleError for a record that can't be."""
        storage = record.storage
        if isinstance(storage, str):
            storage = self.legacy.get(storage)
        try:
            if not isinstance(storage, Storage):
                raise ValueError("no storage")
            count, dtype = storage.size, storage.dtype
            if isinstance(record.dtype, torch.dtype):
                count, dtype = count * dtype.itemsize // record.dtype.itemsize, record.dtype
            shape, strides = [whole(n) for n in record.shape], [whole(n) for n in record.strides]
            if not count or 0 in shape:
                return torch.empty(shape, dtype=dtype, device="cpu")
            last = whole(record.offset) + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
            if last >= count:
                raise ValueError("beyond its storage")
            elements = torch.frombuffer(self.mapped, dtype=dtype, count=count, offset=storage.start)
            return elements.as_strided(shape, strides, record.offset)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise PickleError(f"is damaged: it describes a tensor that can't be ({error}). Fetch it again") from error


def whole(number: object) -> int:
    if type(number) is not int or not 0 <= number < 2**40:
        raise ValueError(f"a size is not a whole number from 0 ({type(number).__name__})")
    return number
