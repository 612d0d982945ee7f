"""Listing folders: what counts as an image file, as a class folder, and as missing."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from invad_fast.errors import InputError

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm")
    + (".jp2", ".gif")
)


def is_image_name(name: str) -> bool:
    """Whether a file name is an image's; hidden files (``._x.png`` of macOS) are not."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def image_files(folder: Path) -> list[Path]:
    """The images directly in ``folder``, sorted by name; none where it is not a folder."""
    return [folder / name for name in sorted(_names(folder, files=True)) if is_image_name(name)]


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in ``folder``, sorted by name, hidden ones left out."""
    names = sorted(_names(folder, files=False))
    return [folder / name for name in names if not name.startswith(".")]


def _names(folder: Path, files: bool) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [e.name for e in entries if (e.is_file() if files else e.is_dir())]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        raise InputError(f"{folder}: this folder may not be read (permission denied)") from None


def class_folders(root: Path, is_class: Callable[[Path], bool]) -> list[Path]:
    """``root`` itself where it is a single class, otherwise those of its folders that are one."""
    return [root] if is_class(root) else [f for f in subfolders(root) if is_class(f)]


def class_name(folder: Path) -> str:
    """The class a folder stands for: its own name, also where it was given as ``.``."""
    return folder.name or folder.resolve().name


def require_files(paths: Iterable[Path], index: Path) -> None:
    """Raises `InputError` where files that ``index`` lists are absent.

    Each folder is listed once instead of asking for every file: an index of 150,000 images on
    a network drive is then checked in a moment.
    """
    listed: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listed:
            listed[folder] = set(_names(Path(folder), files=True))
        if name not in listed[folder]:
            missing.append(path)
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"{index}: lists files that are not there: {missing[0]}{others}")
