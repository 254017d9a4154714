"""Print, as constraints for pip, the oldest versions of everything that pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path


def oldest(project: dict) -> list[str]:
    """Lower bounds of a project's dependencies and extras; of a bound like 4.10 any 4.10.x, for 4.10 may not exist."""
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    bounds = [re.match(r"([\w.-]+?)>=([\d.]+)", one) for group in groups for one in group]
    exact = {bound[1]: bound[2] for bound in bounds if bound}
    return [f"{name}=={version}{('.0.*', '.*', '')[version.count('.')]}" for name, version in sorted(exact.items())]


if __name__ == "__main__":
    file = Path(__file__).parents[1] / "pyproject.toml"
    print(*oldest(tomllib.loads(file.read_text(encoding="utf-8"))["project"]), sep="\n")
