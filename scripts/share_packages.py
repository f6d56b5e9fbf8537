"""Let this environment see the packages of another one: share_packages.py BIN_OF_THE_OTHER."""

import subprocess
import sys
import sysconfig
from pathlib import Path


def main(folder: str) -> None:
    """Write the file that Python reads at its start."""
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    command = [str(Path(folder) / "python"), "-c", asked]
    packages = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    # As a site folder, whose own start-up files are read too.
    line = f"import site; site.addsitedir({packages!r})\n"
    (Path(sysconfig.get_path("purelib")) / "shared_packages.pth").write_text(line)


if __name__ == "__main__":
    main(sys.argv[1])
