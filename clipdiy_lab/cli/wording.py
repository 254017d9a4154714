"""How the command line words what the lab says: one line, safe on a terminal, options instead of Python arguments."""

from __future__ import annotations

import re
from typing import Final

from clipdiy_lab.text import printable

# What messages for Python advise, and the option that does the same here. Longer spellings stand before shorter ones.
_OPTIONS: Final = {
    r"lab\.load\('([^']+)'\)": r"--model \1",
    r"(?:clipdiy_)?lab\.load\(\.\.\., (saliency|runtime)='([^']+)'\)": r"--\1 \2",
    r"runtime='(\w+)'": r"--runtime \1",
    r"give a segmenter, and stores=": "leave out --store, and give --stores",
    r"checkpoint=PATH": "--checkpoint PATH",
    r"partial=True": "--partial",
    r"common=True": "--common",
    r"(root|stores|colours)=": r"--\1",
    r"segmenter=": "--model",
    # No option does these.
    r"pass (mean|std|activation|interpolation)=": r"in Python (lab.load) pass \1=",
    r"tokenizer=FOLDER": "in Python tokenizer=FOLDER",
}
# A name in quotes is what the user gave, whatever it looks like. An apostrophe stands between letters.
_QUOTED: Final = re.compile(r"(?<![\w=(])'(?:[^'\\]|\\.)*'(?!\w)")


def in_shell(message: str) -> str:
    """Return a message in one printable line that names options of the command line, not arguments of Python.

    Examples
    --------
    >>> print(in_shell("'partial=True.png' is missing; pass partial=True, or root= the folder."))
    'partial=True.png' is missing; pass --partial, or --root the folder.
    >>> print(in_shell("give a segmenter: lab.load('ViT-B-32/openai')."))
    give a segmenter: --model ViT-B-32/openai.
    """
    text, done, worded = printable(message), 0, []
    for name in _QUOTED.finditer(text):
        worded += [_translated(text[done : name.start()]), name[0]]
        done = name.end()
    return "".join([*worded, _translated(text[done:])])


def _translated(text: str) -> str:
    for spelling, option in _OPTIONS.items():
        text = re.sub(rf"(?<![\w-]){spelling}", option, text)
    return text
