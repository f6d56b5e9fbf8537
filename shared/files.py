"""Folders to write to, looking for files, and files that appear only when they are complete."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import UserError

_PICTURE = "is a picture, not text; check the path"
_SIGNATURES = {
    b"PAR1": "is a parquet file, not text; where a run reads it, name its format (format: verl, "
    "say), else convert it: perl-rl data convert",
    b"\x89PNG": _PICTURE,
    b"\xff\xd8\xff": _PICTURE,
    b"GIF8": _PICTURE,
    b"RIFF": _PICTURE,
    b"BM": _PICTURE,
    b"\x1f\x8b": "is compressed (gzip); unpack it first",
    b"PK\x03\x04": "is an archive (zip); unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed (zstd); unpack it first",
}


def write_atomically(file: Path, data: bytes | str) -> None:
    """Replace `file` by one with this content (text as UTF-8): readers see the old or the new one.

    Several processes may write the same file at once; the last one wins. The folder must exist.
    """
    with scratch_for(file) as scratch:
        scratch.write_bytes(data if isinstance(data, bytes) else data.encode())


def write_durably(file: Path, text: str) -> None:
    """`write_atomically`, and the content is on the disk when it returns."""
    with scratch_for(file) as scratch, scratch.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    sync_to_disk(file.parent)


def sync_to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def scratch_for(file: Path) -> Iterator[Path]:
    """A path beside `file` to write to; it becomes `file` when the block ends without an error.

    Each call has its own path. After an error it is deleted and `file` stays as it was.
    """
    scratch = file.with_name(f"{file.name}.{uuid.uuid4().hex}.partial")
    try:
        yield scratch
        scratch.replace(file)
    finally:
        scratch.unlink(missing_ok=True)


def is_file(path: Path) -> bool:
    """Whether there is such a file; any text may be asked about, also one too long for a path."""
    try:
        return path.is_file()
    except OSError:
        return False


def make_place(file: Path, named: str) -> None:
    """Make the folder of a file that is to be written, and check that it can be.

    Args:
        named: where its name comes from, such as ``--out``.

    Raises:
        UserError: when it is a folder, or no file can be written there.
    """
    if file.is_dir():
        raise UserError(f"{named} {file}: is a folder; name a file in it")
    make_folder(file.parent, named)


@contextmanager
def tentative_folder(folder: Path, named: str) -> Iterator[Path]:
    """As `make_folder`, but what is empty at the end of the block, and was not there before, goes.

    Raises:
        UserError: as `make_folder`.
    """
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    make_folder(folder, named)
    try:
        yield folder
    finally:
        for one in made:
            try:
                one.rmdir()
            except OSError:  # It holds something, or is gone.
                break


def what_else(content: bytes) -> str | None:
    """What a file that was taken for text is instead, by its first bytes, and what to do."""
    for start, words in _SIGNATURES.items():
        if content.startswith(start):
            return words
    return None


def make_folder(folder: Path, named: str) -> Path:
    """`folder`, made with its parents if it is missing.

    Args:
        named: where its name comes from, such as ``--run-dir``.

    Raises:
        UserError: when it cannot be made, or no file can be written there.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{named} {folder}: cannot write there (it is a file); choose a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{uuid.uuid4().hex}.partial"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"{named} {folder}: cannot write there ({error.strerror}); choose another folder, or "
            "change its permissions"
        ) from None
    return folder
