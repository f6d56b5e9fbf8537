"""A package index on disk, for tests of the set-up."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType


def add_wheel(
    index: Path, name: str, version: str, modules: Mapping[str, str] = MappingProxyType({})
) -> Path:
    """Put a package into a package index on disk; returns its wheel."""
    metadata = f"{name}-{version}.dist-info"
    texts = {
        f"{metadata}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{metadata}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{metadata}/RECORD": "",
        **modules,
    }
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in texts.items():
            archive.writestr(path, text)
    with (folder / "index.html").open("a") as page:
        page.write(f'<a href="{wheel.name}">{wheel.name}</a>')
    return wheel
