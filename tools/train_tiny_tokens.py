"""Second stage of `tiny`: its patch tokens learn to say what is at their place, from the names in captions alone.

After `tools/train_tiny.py` and `tools/train_found_tiny.py`. A minute of CPU time for 10,000 crops, then a fifth of a
second a step on one core::

    python tools/train_tiny_tokens.py --run DIR --start FOLDER   # FOLDER: what `train_tiny.py --export --to` wrote
    python tools/train_tiny_tokens.py --run DIR --start FOLDER --export

Whole scenes and crops are captioned with the set of names that they show, in no order. No mask tells a token which of
them is its own. The embedding of the crop goes on learning as in the first stage. Up to the keys and queries of the
last block but one the tower stays as it is, to the last bit: `found-tiny` reads these, and need not be fitted again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import train_tiny as first_stage
from numpy.lib.format import open_memmap
from pack_tiny import pack_state
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from clipdiy_lab.datasets.grounds import GROUNDS
from clipdiy_lab.files import atomic_path
from clipdiy_lab.method.last_block import METHODS
from clipdiy_lab.models.dense_tokens import TokenTower
from clipdiy_lab.models.tiny import TOKEN_IDS, TOKEN_ROWS, TOKEN_TABLE

KEPT_BLOCKS = 4
SIDE = first_stage.INPUT // first_stage.PATCH


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, beside what the first stage left."""

    crops: int = 48_000  # made once, each seen four times
    steps: int = 2_000
    batch: int = 96
    rate: float = 6e-4
    warmup: int = 50
    falling: int = 400  # last steps, in which the rate falls to nothing
    decay: float = 0.02
    average: float = 0.998
    named: float = 0.1  # share of what a crop shows from which on a caption names it
    paths: tuple[str, ...] = ("clearclip", "naclip", "clearclip", "sclip")  # of the last block, in turn
    share: float = 0.6  # of these weights in the file; the rest is the first stage's (Wortsman et al., CVPR 2022)
    seed: int = 0


def load_start(folder: Path, texts: first_stage.Texts) -> first_stage.open_clip.CLIP:
    """Build the model with the weights of the first stage and the short table of tokens."""
    model = first_stage.make_model(texts, 0)
    stored = load_file(folder / "model.safetensors")
    if not torch.equal(stored[TOKEN_IDS].long(), texts.ids):
        raise SystemExit(f"{folder} holds a model of other words; train the first stage again.")
    state = {name: value.float() for name, value in stored.items() if name not in (TOKEN_IDS, TOKEN_ROWS)}
    model.load_state_dict(state | {TOKEN_TABLE: stored[TOKEN_ROWS].float()})
    return model


# ---------------------------------------------------------------------------------------------------------------- data
def kept_tokens(model: first_stage.open_clip.CLIP, images: Tensor) -> Tensor:
    """Tokens after the blocks that stay as they are."""
    tower = model.visual
    patches = tower.conv1(images).flatten(2).transpose(1, 2)
    first = tower.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
    tokens: Tensor = tower.ln_pre(torch.cat([first, patches], dim=1) + tower.positional_embedding)
    for block in tower.transformer.resblocks[:KEPT_BLOCKS]:
        tokens = block(tokens)
    return tokens


def make_crops(run: Path, recipe: Recipe, model: first_stage.open_clip.CLIP, count: int) -> tuple[np.ndarray, Tensor]:
    """Tokens (crops x 65 x width) and targets (crops x names) of all crops; made once, kept in the run's folder."""
    files = run / "tokens.npy", run / "targets.npy"
    if not files[1].exists():
        of_first = first_stage.Recipe()
        pool = first_stage.make_pool(run, of_first)
        width = first_stage.CONFIG["vision_cfg"]["width"]
        tokens = open_memmap(files[0], mode="w+", dtype=np.float16, shape=(recipe.crops, 1 + SIDE * SIDE, width))
        targets = np.empty((recipe.crops, count), dtype=np.float32)
        mean, std = (torch.tensor(values)[:, None, None] for values in (first_stage.MEAN, first_stage.STD))
        for number, begin in enumerate(range(0, recipe.crops, of_first.batch)):
            here = slice(begin, begin + of_first.batch)
            # Steps after the last of the first stage: crops that it has not seen, spread as at its end.
            step = of_first.steps * (1 + recipe.seed) + number
            crops, goals = first_stage.make_batch(pool, of_first, step, count, first_stage.INPUT)
            plain = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
            images = first_stage.jitter(plain, torch.Generator().manual_seed(step), bold=number % 2 == 1)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                made = kept_tokens(model, (images - mean) / std).half().numpy()
            tokens[here], targets[here] = made[: recipe.crops - begin], goals[: recipe.crops - begin]
            if number % 20 == 0:
                print(f"crops {begin}", flush=True)
        tokens.flush()
        np.save(files[1], targets)
    return np.load(files[0], mmap_mode="r"), torch.from_numpy(np.load(files[1]))


# --------------------------------------------------------------------------------------------------------------- model
def token_loss(cosines: Tensor, words: Tensor) -> Tensor:
    """How ill patch tokens fit a caption: multiple-instance learning on the tokens' distributions over all names.

    Every token should say one of the caption's words, or background or a ground, which no caption denies; and every
    word of the caption should be said by many tokens (the mean of their probabilities).

    Parameters
    ----------
    cosines : Tensor, crops x tokens x names
    words : bool Tensor, crops x names
    """
    logs = F.log_softmax(first_stage.Recipe.scale_last * cosines, dim=-1)
    allowed = words.clone()
    allowed[:, 0] = True
    allowed[:, -len(GROUNDS) :] = True
    fits = logs.masked_fill(~allowed[:, None], -1e4).logsumexp(-1).mean()
    said = logs.logsumexp(1) - math.log(logs.shape[1])
    return -fits - ((said * words).sum(1) / words.sum(1).clamp_min(1)).mean()


def cone_loss(cosines: Tensor) -> Tensor:
    """The first stage's wish for a mean cosine."""
    return 20 * (cosines.mean() - first_stage.Recipe.cone) ** 2


class Training:
    """A run of the second stage: its state, and how it goes on."""

    def __init__(self, run: Path, start: Path, recipe: Recipe) -> None:
        self.run, self.start, self.recipe = run, start, recipe
        self.words = first_stage.words_of_labels()
        self.texts = first_stage.Texts(self.words)
        self.model = load_start(start, self.texts).requires_grad_(False)
        self.tower = TokenTower(self.model.visual, "tiny")
        self.before = self.model.visual.transformer.resblocks[-2]
        self.trained = self._release()
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in self.trained if p.ndim >= 2], "weight_decay": recipe.decay},
                {"params": [p for p in self.trained if p.ndim < 2], "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
        )
        self.average = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.step = 0
        if (run / "tokens.pt").exists():
            self._load()

    def _release(self) -> list[torch.nn.Parameter]:
        """Say what is trained: of the last block but one the values and what follows them, and all after it."""
        visual, block = self.model.visual, self.before
        whole = [block.attn.out_proj, block.ln_2, block.mlp, visual.transformer.resblocks[-1], visual.ln_post]
        released = [parameter for module in whole for parameter in module.parameters()]
        released += [visual.proj, block.attn.in_proj_weight, block.attn.in_proj_bias]
        for parameter in released:
            parameter.requires_grad_(True)
        kept = 2 * len(visual.class_embedding)  # queries and keys
        self.kept = [(p, p.detach()[:kept].clone()) for p in (block.attn.in_proj_weight, block.attn.in_proj_bias)]
        return released

    def _load(self) -> None:
        state = torch.load(self.run / "tokens.pt", weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise SystemExit(f"{self.run} holds a run of another recipe: {state['recipe']}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average, self.step = state["average"], state["step"]

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
            "recipe": asdict(self.recipe),
        }
        with atomic_path(self.run / "tokens.pt") as part:
            torch.save(state, part)

    def learn(self, tokens: Tensor, targets: Tensor, prompts: Tensor) -> tuple[float, float]:
        """One step; returns the loss of the embeddings and that of the tokens."""
        recipe = self.recipe
        block = METHODS[recipe.paths[self.step % len(recipe.paths)]]
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        # As in the first stage: on a CPU the fused kernel is slow for so few tokens.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            before = self.before(tokens)
            heads = self.tower.heads(before)
            seen = F.normalize(self.tower.embedding(before, heads).float(), dim=-1)
            dense = self.tower.dense(before, heads, block, (SIDE, SIDE)).flatten(1, 2)
            with torch.no_grad():
                read = first_stage.text_features(self.model, prompts).float()
        cosines, of_tokens = seen @ read.T, F.normalize(dense.float(), dim=-1) @ read.T
        words = targets >= recipe.named
        words[:, 0] = False
        words[:, -len(GROUNDS) :] = False
        whole = first_stage.loss_of(first_stage.Recipe.scale_last * cosines, targets)
        tokenwise = token_loss(of_tokens, words)
        self.optimizer.zero_grad(set_to_none=True)
        (whole + tokenwise + cone_loss(cosines) + cone_loss(of_tokens)).backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        with torch.no_grad():
            for parameter, kept in self.kept:
                parameter[: len(kept)] = kept
        self.step += 1
        weight = min(recipe.average, self.step / (self.step + 20))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - weight)
        return float(whole.detach()), float(tokenwise.detach())

    def _rate(self) -> float:
        recipe = self.recipe
        return recipe.rate * min(1.0, (self.step + 1) / recipe.warmup, (recipe.steps - self.step) / recipe.falling)

    def go(self) -> None:
        """Train to the end."""
        recipe = self.recipe
        tokens, targets = make_crops(self.run, recipe, self.model, len(self.words))
        begin, losses = time.process_time(), []
        while self.step < recipe.steps:
            random = np.random.default_rng((recipe.seed, self.step))
            chosen = np.sort(random.choice(recipe.crops, recipe.batch, replace=False))
            prompts = self.texts.throw(random)
            losses.append(self.learn(torch.from_numpy(tokens[chosen]).float(), targets[chosen], prompts))
            if self.step % 50 == 0 or self.step == recipe.steps:
                whole, parts = np.mean(losses[-50:], axis=0)
                spent = (time.process_time() - begin) / len(losses)
                print(f"step {self.step:5} embeddings {whole:.3f} tokens {parts:.3f} {spent:.2f} s", flush=True)
            if self.step % 100 == 0 or self.step == recipe.steps:
                self.save()

    def export(self, folder: Path) -> None:
        """Write the averaged weights, mixed with those of the first stage, and both stages' recipes."""
        folder.mkdir(parents=True, exist_ok=True)
        first = load_start(self.start, self.texts).state_dict()
        mixed = {name: first[name].lerp(value, self.recipe.share) for name, value in self.average.items()}
        config = json.loads((self.start / "config.json").read_text())
        of_tokens = {"trained_steps": self.step, "recipe": asdict(self.recipe)}
        save_file(pack_state(mixed, self.texts.ids), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({**config, "tokens": of_tokens}, indent=1) + "\n")


def main() -> None:
    """Read the command line and train or export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder for the pool of scenes and the checkpoints")
    parser.add_argument("--start", type=Path, required=True, help="folder with the weights of the first stage")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of torch; 0 = its own choice")
    parser.add_argument("--export", action="store_true", help="write the mixed weights into the package")
    parser.add_argument("--to", type=Path, default=first_stage.ASSETS, help="where --export writes")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    arguments.run.mkdir(parents=True, exist_ok=True)
    training = Training(arguments.run, arguments.start, Recipe())
    if arguments.export:
        training.export(arguments.to)
    else:
        training.go()


if __name__ == "__main__":
    main()
