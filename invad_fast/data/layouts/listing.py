"""Listing folders: what counts as an image file, as a class folder, and as missing."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Literal

from invad_fast.data.image_file import is_image
from invad_fast.errors import InputError

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".pgm")
    + (".ppm", ".pnm", ".pbm", ".jp2", ".gif", ".avif")
)
"""A file called so is taken for an image unseen; any other is looked into."""

DOCUMENT_SUFFIXES = frozenset(
    (".txt", ".md", ".rst", ".pdf", ".csv", ".tsv", ".json", ".xml", ".yaml", ".yml", ".toml")
    + (".ini", ".cfg", ".html", ".htm", ".doc", ".docx", ".xls", ".xlsx", ".log", ".py", ".ipynb")
    + (".sh", ".m", ".bib", ".tex")
)
_NO_FILES_OF_ITS_OWNER = frozenset({"thumbs.db", "desktop.ini", "icon\r"})
_NO_FOLDERS_OF_ITS_OWNER = frozenset(
    {"__macosx", "$recycle.bin", "lost+found", "system volume information"}
)


@dataclass(frozen=True)
class Entry:
    """What a folder holds under one name. A link counts as what it leads to, or as lost."""

    name: str
    kind: Literal["file", "folder", "lost"]
    is_link: bool


def is_document(name: str) -> bool:
    """Whether a file of this name is no data: notes, tables, licences."""
    stem, suffix = os.path.splitext(name)
    plain = not suffix and stem.lower().startswith(("readme", "licen", "copying", "authors"))
    return plain or suffix.lower() in DOCUMENT_SUFFIXES


def is_image_file(path: Path) -> bool:
    """Whether the file is an image: by its suffix, or where that says nothing by its content."""
    suffix = os.path.splitext(path.name)[1].lower()
    return suffix in IMAGE_SUFFIXES or (not is_document(path.name) and is_image(path))


def image_files(folder: Path) -> list[Path]:
    """The images directly in ``folder``, sorted by name; none where it is not a folder.

    Hidden files (``._x.png`` of macOS) and those that a system leaves behind are not among them.
    """
    files = (folder / entry.name for entry in entries(folder) if entry.kind == "file")
    return [file for file in files if is_image_file(file)]


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in ``folder``, sorted by name, hidden ones left out."""
    return [folder / entry.name for entry in entries(folder) if entry.kind == "folder"]


def entries(folder: Path) -> list[Entry]:
    """What is directly in ``folder``, sorted by name; nothing where it is not a folder.

    Hidden names and those that a system leaves behind are left out.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(filter(None, map(_entry, found)), key=lambda entry: entry.name)
    except PermissionError:
        raise InputError(f"{folder}: this folder may not be read (permission denied)") from None
    except (OSError, ValueError):  # not there, not a folder, a name too long or with a zero byte
        return []


def _entry(found: os.DirEntry[str]) -> Entry | None:
    if found.name.startswith("."):
        return None
    kind: Literal["file", "folder", "lost"]
    try:
        kind = "file" if found.is_file() else "folder" if found.is_dir() else "lost"
    except OSError:  # a link to itself
        kind = "lost"
    known = _NO_FILES_OF_ITS_OWNER if kind == "file" else _NO_FOLDERS_OF_ITS_OWNER
    return None if found.name.lower() in known else Entry(found.name, kind, found.is_symlink())


def class_folders(root: Path, is_class: Callable[[Path], bool]) -> list[Path]:
    """``root`` itself where it is a single class, otherwise those of its folders that are one."""
    return [root] if is_class(root) else [f for f in subfolders(root) if is_class(f)]


def class_name(folder: Path) -> str:
    """The class a folder stands for: its own name, also where it was given as ``.``."""
    return folder.name or folder.resolve().name


def walk(root: Path, follow_links: bool) -> Iterator[tuple[Path, list[Entry]]]:
    """``root`` and every folder below it, with what is in each; no folder twice, links or not."""
    seen: set[str] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        inside = entries(folder)
        yield folder, inside
        inner = [e for e in inside if e.kind == "folder" and (follow_links or not e.is_link)]
        waiting += [folder / entry.name for entry in reversed(inner)]


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
            listed[folder] = _file_names(folder)
        if name not in listed[folder]:
            missing.append(path)
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"{index}: lists files that are not there: {missing[0]}{others}")


def _file_names(folder: str) -> set[str]:
    """All names of files, hidden ones too: an index may list any."""
    try:
        with os.scandir(folder) as found:
            return {entry.name for entry in found if not entry.is_dir()}
    except PermissionError:
        raise InputError(f"{folder}: this folder may not be read (permission denied)") from None
    except (OSError, ValueError):
        return set()


@dataclass(frozen=True)
class ListedFiles:
    """The paths that an index file lists.

    Attributes:
        root: of the data set; a path that leads out of it is refused, unless ``outside``. Links
            are followed: what lies in the root by its name may be anywhere.
        base: the folder that the paths are relative to.
        index: the file that lists them, for the message.
    """

    root: Path
    base: Path
    index: Path
    outside: bool

    def path(self, text: object) -> Path:
        """The path that the index gives as ``text``; backslashes of Windows are understood.

        Raises:
            InputError: where it leads out of the root.
            TypeError: where it is no text, or empty.
        """
        if not isinstance(text, str) or not text.strip():
            raise TypeError(f"a path that is {text!r}")
        if "\\" in text and not os.path.lexists(self.base / text):
            if PureWindowsPath(text).anchor:
                raise self._leads_out(text)
            text = text.replace("\\", "/")
        # Normalised, so that a .. behind a link leads where it seems to.
        path = os.path.normpath(os.path.join(self.base, text))
        inside = os.path.abspath(path).startswith(os.path.join(os.path.abspath(self.root), ""))
        if not inside and not self.outside:
            raise self._leads_out(text)
        return Path(path)

    def _leads_out(self, text: str) -> InputError:
        return InputError(
            f"{self.index}: lists {text!r}, which lies outside {self.root}; where that is meant, "
            "allow it with outside=True (--outside)"
        )


def listed_class(name: object, where: str) -> str:
    """The class that an index gives: any text but an empty one."""
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{where}: a class needs a name, not {name!r}")
    return name
