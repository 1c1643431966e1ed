"""Folders of small pictures, for the tests of training."""

from pathlib import Path

from PIL import Image, ImageCms


def save_picture(path: Path, width: int = 20, height: int = 16, colour=(200, 30, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path)


def class_folders(root: Path) -> Path:
    """`root` with three pictures each of the classes "blue" and "red"."""
    for label, colour in (("blue", (0, 0, 200)), ("red", (200, 0, 0))):
        for index in range(3):
            save_picture(root / label / f"{index}.png", colour=colour)
    return root


def profile_with(red: bytes, green: bytes) -> bytes:
    """sRGB with the tags `red` and `green` in place of its own: a colour space whose axes are exchanged."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    table = slice(132, 132 + 12 * int.from_bytes(content[128:132], "big"))
    tags = bytes(content[table]).replace(b"rXYZ", b"????").replace(b"gXYZ", green).replace(b"????", red)
    content[table] = tags
    return bytes(content)
