"""`make docs`: assemble the pages, let sphinx build the site with warnings as errors, and check the links in it."""

import shutil
import sys
import time

import benchmark_tables
import command_line
import files
import gallery
import interface
import knobs_and_stages
import libraries
import links
import live
from pages import DOCS, EXTRA, ROOT, SITE, SOURCE, write
from sphinx.cmd.build import build_main

import notebooks

OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Documents of the repository's root that are pages of the site."""


def copy_written_pages() -> None:
    """Copy what was written by hand; links between `docs/`, notebooks and the root lead to their pages."""
    for path in sorted(DOCS.rglob("*")):
        inside = path.relative_to(DOCS)
        if path.is_dir() or inside.parts[0] in ("_build", "_ext"):
            continue
        if path.suffix == ".md":
            write(SOURCE / inside, path.read_text(encoding="utf-8").replace("](../../notebooks/", "](../tutorials/"))
        else:
            (SOURCE / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, SOURCE / inside)
    for name, page in OUTSIDE.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        for other, target in OUTSIDE.items():
            text = text.replace(f"]({other})", f"]({target})")
        write(SOURCE / page, text)


def main() -> int:
    """Build the site; return 0, or 1 where sphinx or the links have something to say."""
    began = time.perf_counter()
    copy_written_pages()
    for make in (
        interface.make_pages,
        command_line.make_page,
        knobs_and_stages.make_pages,
        files.make_page,
        notebooks.make_pages,
        benchmark_tables.make_page,
        gallery.make_page,
        libraries.copy_libraries,
        live.make_pages,
    ):
        make()
    assembled = time.perf_counter()
    if build_main(["-q", "-W", "--keep-going", "-b", "html", "-c", str(DOCS), str(SOURCE), str(SITE)]):
        return 1
    shutil.copytree(EXTRA, SITE, dirs_exist_ok=True)
    found = links.problems(SITE)
    print(*found, sep="\n")
    took = time.perf_counter()
    print(f"{SITE / 'index.html'}: pages {assembled - began:.0f} s, sphinx {took - assembled:.0f} s")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
