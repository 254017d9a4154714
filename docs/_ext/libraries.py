"""What pages need beside sphinx's own, from packages: plotly, the papers of its figures, a font for formulas."""

import inspect
import json
import shutil
from pathlib import Path

import plotly
import ziamath
from pages import SOURCE, write

from clipdiy_lab.views.figures.style import TEMPLATES


def copy_libraries() -> None:
    """Put them among the site's static files."""
    static = SOURCE / "_static"
    static.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(inspect.getfile(plotly)).parent / "package_data" / "plotly.min.js", static / "plotly.min.js")
    font = "STIXTwoMath-Regular.ttf"
    shutil.copyfile(Path(inspect.getfile(ziamath)).parent / "fonts" / font, static / font)
    papers = {name: template.to_plotly_json() for name, template in TEMPLATES.items()}
    write(static / "figure_templates.js", f"window.figureTemplates = {json.dumps(papers)};\n")
