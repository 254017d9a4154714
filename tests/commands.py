"""`clipdiy-lab` as a process of its own that need not import torch first: a child of one that has.

A command has its own process, environment, folder and streams, as when a shell starts it. The imports of torch and
open_clip, seconds of every start, are done once; so what a test puts in their place on PYTHONPATH is not seen.
"""

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_SERVER = """
import gc, importlib, json, os, sys, warnings
gc.disable()
for module in ("open_clip", "torchvision.transforms", "clipdiy_lab.cli", "clipdiy_lab.pipeline.segmenter"):
    importlib.import_module(module)
gc.enable()
gc.freeze()  # or every child searches at its end what was imported for garbage
warnings.filterwarnings("error", category=DeprecationWarning)
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        for place in reversed(os.environ.get("PYTHONPATH", "").split(os.pathsep)):
            if place and place not in sys.path:
                sys.path.insert(1, place)
        importlib.invalidate_caches()
        for stream, name in enumerate(("/dev/null", asked["out"], asked["err"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), stream)
        sys.argv = asked["arguments"]
        exec(asked["code"], {"__name__": "__main__"})
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
_servers: list[subprocess.Popen[str]] = []


def run(*arguments: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    code = "import runpy; runpy.run_module('clipdiy_lab', run_name='__main__')"
    return python(code, "clipdiy-lab", *arguments, cwd=cwd, **env)


def python(code: str, *arguments: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run code to its end; the arguments are `sys.argv`."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        given = {"TQDM_DISABLE": "1", **env}
        asked = {
            "code": code,
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd),
            "env": {**os.environ, **given},
            "out": str(out),
            "err": str(err),
        }
        server = _server()
        print(json.dumps(asked), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())


def _server() -> subprocess.Popen[str]:
    if not _servers:
        env = {**os.environ, "TQDM_DISABLE": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        _servers.append(subprocess.Popen([sys.executable, "-c", _SERVER], text=True, env=env, **pipes))
        atexit.register(_end)
    return _servers[0]


def _end() -> None:
    with contextlib.suppress(OSError):
        _servers[0].stdin.close()
    _servers[0].wait(10)
