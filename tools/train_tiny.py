"""Train `tiny`, the embedded CLIP, on scenes of the training families.

About an hour on two CPU cores, minutes on a GPU::

    python tools/train_tiny.py --run DIR            # trains, or goes on with what DIR holds
    python tools/train_tiny.py --run DIR --export   # writes the averaged weights of DIR into the package
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from pack_tiny import pack_state
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from clipdiy_lab.datasets.drawings import things
from clipdiy_lab.datasets.grounds import GROUNDS
from clipdiy_lab.datasets.scenes import Scenes
from clipdiy_lab.files import atomic_path

ASSETS = Path(__file__).resolve().parents[1] / "clipdiy_lab" / "assets" / "tiny"
FRAME, INPUT, PATCH = 256, 64, 8
CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": INPUT, "layers": 6, "width": 192, "head_width": 32, "patch_size": PATCH},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2},
}
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
TEMPLATES = (
    "a photo of a {}",
    "a photo of a {}",
    "a photo of the {}",
    "a picture of a {}",
    "a picture of the {}",
    "an image of a {}",
    "a drawing of a {}",
    "a {}",
    "the {}",
    "{}",
)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result."""

    main: int = 2600  # steps, then ...
    bold: int = 550  # ... steps with bolder changes of colour and shape, for drawings of another hand
    batch: int = 256
    rate: float = 1e-3
    rate_bold: float = 4e-4
    warmup: int = 100
    warmup_bold: int = 30
    decay: float = 0.05
    average: float = 0.998
    scale_first: float = 15.0  # of the logits: grows to the last value, CLIP's own, in the first third of the steps
    scale_last: float = 100.0
    cone: float = 0.2  # mean cosine between images and texts, about that of OpenAI's and LAION's models
    seed: int = 0
    pool_voc: int = 4000
    pool_open: int = 5000
    share_voc: float = 0.6  # of the crops that come from scenes of VOC's names alone
    quota_background: int = 24  # of a batch
    centred_first: float = 0.9  # share of the crops that are cut around one object: at first, ...
    centred_last: float = 0.3  # ... and when a third of the steps is done

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.main + self.bold

    def grown(self, step: int) -> float:
        """Share of the first third of the main steps that is done; what changes early has then changed."""
        return min(1.0, 3 * step / self.main)


def words_of_labels() -> list[list[str]]:
    """The spellings of each label: background, the open vocabulary's names, the grounds."""
    named = [[thing.name, *thing.synonyms, *([thing.coco] if thing.coco else [])] for thing in things()]
    return [["background"], *[list(dict.fromkeys(words)) for words in named], *[[name] for name in GROUNDS]]


# ---------------------------------------------------------------------------------------------------------------- data
def squash(job: tuple[str, int, int]) -> tuple[np.ndarray, np.ndarray, int]:
    """One training scene at 256 x 256, its labels (of the open vocabulary) on every second pixel, and its ground."""
    vocabulary, seed, number = job
    scenes = Scenes("train", vocabulary, length=number + 1, seed=seed)
    scene = scenes.scene(number)
    order = {thing.name: position + 1 for position, thing in enumerate(things())}
    mask = np.zeros(scene.image.shape[:2], dtype=np.uint8)
    for instance in scene.instances:
        mask[instance.mask] = order[instance.name]
    image = Image.fromarray(scene.image).resize((FRAME, FRAME), Image.Resampling.BILINEAR)
    small = Image.fromarray(mask).resize((FRAME // 2, FRAME // 2), Image.Resampling.NEAREST)
    ground = tuple(GROUNDS).index(scene.ground_names[0]) if len(scene.ground_names) == 1 else -1
    return np.asarray(image), np.asarray(small), ground


def make_pool(run: Path, recipe: Recipe) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All scenes that training draws its crops from; made once, kept in the run's folder."""
    files = [run / f"pool_{part}.npy" for part in ("images", "labels", "grounds")]
    if not all(file.exists() for file in files):
        jobs = [("voc", recipe.seed, n) for n in range(recipe.pool_voc)]
        jobs += [("open", recipe.seed, n) for n in range(recipe.pool_open)]
        with multiprocessing.Pool() as workers:
            parts = workers.map(squash, jobs, chunksize=50)
        for file, column in zip(files, zip(*parts, strict=True), strict=True):
            np.save(file, np.stack([np.asarray(part) for part in column]))
    images, labels, grounds = (np.load(file, mmap_mode="r") for file in files)
    return images, labels, grounds


def centred_window(random: np.random.Generator, labels: np.ndarray) -> tuple[int, int, int] | None:
    """A crop around one thing of a scene, loosely; none if the scene is empty."""
    present = np.flatnonzero(np.bincount(labels.ravel())[1:]) + 1
    if not len(present):
        return None
    where = labels == random.choice(present)
    rows, columns = np.flatnonzero(where.any(axis=1)) * 2, np.flatnonzero(where.any(axis=0)) * 2
    longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 2
    side = int(np.clip(longest * random.uniform(0.8, 1.5), 24, FRAME))
    shift = random.uniform(-0.12, 0.12, 2) * side
    corner = [(span[0] + span[-1] - side) / 2 + move for span, move in zip((rows, columns), shift, strict=True)]
    top, left = np.clip(corner, 0, FRAME - side).astype(int)
    return int(top), int(left), side


def throw_window(random: np.random.Generator) -> tuple[int, int, int]:
    """Top, left and side of a crop: mostly the segmenter's sizes."""
    side = int(random.choice((256, 128, 64, 0), p=(0.2, 0.3, 0.35, 0.15)))
    side = side or int(random.integers(56, 224))
    top, left = random.integers(0, FRAME - side + 1, 2)
    return int(top), int(left), side


def describe(labels: np.ndarray, ground: int, count: int, random: np.random.Generator) -> np.ndarray:
    """How a caption writer would name a crop, as shares of the labels.

    Objects in proportion to their visible area; the less they cover together below a tenth, the more "background", and
    of an empty crop on one ground, half the time the ground's own name.
    """
    target = np.zeros(count, dtype=np.float32)
    areas = np.bincount(labels.ravel(), minlength=count).astype(np.float32)
    covered = 1 - areas[0] / labels.size
    areas[0] = 0
    if areas.any():
        target += areas / areas.sum() * min(1.0, covered / 0.1)
    rest = 1 - target.sum()
    empty = 0 if ground < 0 or random.random() < 0.5 else count - len(GROUNDS) + ground
    target[empty] += rest
    return target


def make_batch(
    pool: tuple[np.ndarray, np.ndarray, np.ndarray], recipe: Recipe, step: int, count: int, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """The crops (uint8) and targets of one step; depends on the seed and the step alone."""
    random = np.random.default_rng((recipe.seed, step))
    images, labels, grounds = pool
    crops = np.empty((recipe.batch, side, side, 3), dtype=np.uint8)
    targets = np.empty((recipe.batch, count), dtype=np.float32)
    done = empty = 0
    centred = recipe.centred_first + (recipe.centred_last - recipe.centred_first) * recipe.grown(step)
    while done < recipe.batch:
        # The two halves of the pool: VOC's names, and all of them.
        first, last = (0, recipe.pool_voc) if random.random() < recipe.share_voc else (recipe.pool_voc, len(images))
        number = int(random.integers(first, last))
        around = centred_window(random, labels[number]) if random.random() < centred else None
        top, left, window = around or throw_window(random)
        part = labels[number, top // 2 : (top + window) // 2, left // 2 : (left + window) // 2]
        if (part > 0).mean() < 0.05:
            empty += 1
            if empty > recipe.quota_background:
                continue
        targets[done] = describe(part, int(grounds[number]), count, random)
        image = Image.fromarray(images[number])
        box = (left, top, left + window, top + window)
        crop = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))
        crops[done] = crop[:, ::-1] if random.random() < 0.5 else crop
        done += 1
    return crops, targets


def jitter(crops: Tensor, generator: torch.Generator, bold: bool) -> Tensor:
    """Change colours, blur and add noise, so that drawings of another hand are recognised; N x 3 x s x s in 0..1.

    Bold: shapes too are turned, stretched and sheared a little, and colours changed more and more often.
    """
    count = len(crops)
    if bold:
        crops = bend(crops, generator)

    def throw(low: float, high: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=generator) * (high - low) + low

    grey = crops.mean(dim=1, keepdim=True)
    saturation = throw(0.3, 1.8) if bold else throw(0.6, 1.3)
    crops = grey + (crops - grey) * saturation * (throw(0, 1) > (0.1 if bold else 0.03))
    crops = turn_hue(crops, throw(-1, 1).flatten(), throw(0, 1).flatten() < (0.25 if bold else 0.05))
    middle = crops.mean(dim=(1, 2, 3), keepdim=True)
    contrast, brightness = (throw(0.5, 1.5), throw(-0.15, 0.15)) if bold else (throw(0.75, 1.25), throw(-0.08, 0.08))
    crops = (crops - middle) * contrast + middle + brightness
    blurred = F.avg_pool2d(F.pad(crops, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    crops = torch.where(throw(0, 1) < 0.15, blurred, crops)
    noise = torch.randn(crops.shape, generator=generator) * throw(0.01, 0.05) * (throw(0, 1) < 0.2)
    return (crops + noise).clamp(0, 1)


def bend(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Turn by up to 20 degrees, stretch each axis by up to a sixth and shear a little; edges are mirrored outwards."""
    count = len(crops)
    angle, shear = ((torch.rand(count, generator=generator) * 2 - 1) * most for most in (math.pi / 9, 0.15))
    wide, tall = (torch.exp((torch.rand(count, generator=generator) * 2 - 1) * 0.15) for _ in range(2))
    cosine, sine = angle.cos(), angle.sin()
    matrix = torch.stack([cosine * wide, shear - sine, 0 * angle, sine + shear, cosine * tall, 0 * angle], dim=1)
    grid = F.affine_grid(matrix.view(-1, 2, 3), list(crops.shape), align_corners=False)
    return F.grid_sample(crops, grid, padding_mode="reflection", align_corners=False)


def turn_hue(crops: Tensor, amount: Tensor, strong: Tensor) -> Tensor:
    """Rotate colours about the grey axis: by up to 12 degrees, or anywhere where `strong`."""
    angle = amount * torch.where(strong, math.pi, math.pi / 15)
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    axis = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    matrix = cosine * torch.eye(3) + (1 - cosine) * axis + sine * cross
    return torch.einsum("nij,njyx->niyx", matrix, crops)


def feed(run: Path, recipe: Recipe, first: int, count: int, out: Any) -> None:
    """Make the batches from step `first` on; runs in a process of its own, beside the network's."""
    pool = make_pool(run, recipe)
    for step in range(first, recipe.steps):
        out.put(make_batch(pool, recipe, step, count, INPUT))


# --------------------------------------------------------------------------------------------------------------- model
def image_states(model: open_clip.CLIP, images: Tensor) -> Tensor:
    """What `model.visual` projects."""
    tower = model.visual
    patches = tower.conv1(images).flatten(2).transpose(1, 2)
    first = tower.class_embedding.expand(len(patches), 1, -1)
    tokens = torch.cat([first, patches], dim=1) + tower.positional_embedding
    states: Tensor = tower.ln_post(tower.transformer(tower.ln_pre(tokens))[:, 0])
    return states


def text_features(model: open_clip.CLIP, tokens: Tensor) -> Tensor:
    """`model.encode_text` without the padding: attention is causal, so what follows the end changes nothing."""
    length = int(tokens.argmax(dim=1).max()) + 1
    states = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    states = model.ln_final(model.transformer(states, attn_mask=model.attn_mask[:length, :length]))
    ends = states[torch.arange(len(tokens), device=tokens.device), tokens.argmax(dim=1)]
    return F.normalize(ends @ model.text_projection, dim=-1)


class Texts:
    """Prompts of every label, as tokens of a table that holds only what training uses."""

    def __init__(self, words: list[list[str]]) -> None:
        tokenizer = open_clip.SimpleTokenizer(context_length=CONFIG["text_cfg"]["context_length"])
        prompts = [[[template.format(word) for template in TEMPLATES] for word in spelt] for spelt in words]
        tokens = [[tokenizer(texts) for texts in spelt] for spelt in prompts]
        used = torch.cat([batch.flatten() for spelt in tokens for batch in spelt])
        # Sorted, so that the end token stays the largest: open_clip finds the end of a text by that.
        self.ids = torch.unique(used)
        self._tokens = [[torch.searchsorted(self.ids, batch) for batch in spelt] for spelt in tokens]

    def throw(self, random: np.random.Generator) -> Tensor:
        """One prompt a label: the main spelling half the time, any template."""
        rows = []
        for spelt in self._tokens:
            word = 0 if random.random() < 0.5 else int(random.integers(len(spelt)))
            rows.append(spelt[word][int(random.integers(len(TEMPLATES)))])
        return torch.stack(rows)

    def plain(self) -> Tensor:
        """The first template with each label's main spelling."""
        return torch.stack([spelt[0][0] for spelt in self._tokens])


def make_model(texts: Texts, seed: int) -> open_clip.CLIP:
    """The untrained model with the short table of tokens."""
    torch.manual_seed(seed)
    config = {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "vocab_size": len(texts.ids)}}
    model = open_clip.CLIP(**config)
    start_well(model, seed)
    return model


@torch.no_grad()
def start_well(model: open_clip.CLIP, seed: int) -> None:
    """Give the image tower a start that saves many steps: it knows where patches are, and mixes them mildly.

    Positions: sines and cosines, as strong as the patches. Attention: queries and keys that agree, values and
    projection that cancel in part (Trockman and Kolter, Mimetic Initialization of Self-Attention Layers, 2023). With
    both, 120 small steps gave 25 % top-1 on VOC's names, with open_clip's own start 16 %.
    """
    tower = model.visual
    width = len(tower.class_embedding)
    tower.positional_embedding[1:].copy_(0.5 * waves(INPUT // PATCH, width))
    generator = torch.Generator().manual_seed(seed)

    def near_identity(noise: float, identity: float) -> tuple[Tensor, Tensor, Tensor]:
        matrix = noise * torch.randn(width, width, generator=generator) / width**0.5 + identity * torch.eye(width)
        left, strength, right = torch.linalg.svd(matrix)
        return left, strength.sqrt(), right

    for block in tower.transformer.resblocks:
        query, key, value = block.attn.in_proj_weight.view(3, width, width)
        depth = width // block.attn.num_heads
        for first in range(0, width, depth):
            left, strength, right = near_identity(0.7, 0.7)
            # Directions at random: the strongest ones alone would be much the same in every head.
            chosen = torch.randperm(width, generator=generator)[:depth]
            query[first : first + depth] = (left[:, chosen] * strength[chosen]).T
            key[first : first + depth] = right[chosen] * strength[chosen, None]
        left, strength, right = near_identity(0.4, -0.4)
        value.copy_(right * strength[:, None])
        block.attn.out_proj.weight.copy_(left * strength)


def waves(side: int, width: int) -> Tensor:
    """Sines and cosines of the row and the column, one line for each patch."""
    rates = 0.01 ** (torch.arange(width // 4) / (width // 4))
    angles = torch.arange(side)[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=2).reshape(side * side, width)


def loss_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy with shares as targets; "background" and the grounds' names are never each other's negatives."""
    empty = torch.zeros(targets.shape[1], dtype=torch.bool, device=targets.device)
    empty[0] = True
    empty[-len(GROUNDS) :] = True
    ambiguous = (targets[:, empty].sum(dim=1) > 0)[:, None] & empty & (targets == 0)
    return -(targets * F.log_softmax(logits.masked_fill(ambiguous, -1e4), dim=1)).sum(dim=1).mean()


def scale_at(recipe: Recipe, step: int) -> float:
    """Factor of the cosines: grows exponentially at first."""
    return recipe.scale_first * (recipe.scale_last / recipe.scale_first) ** recipe.grown(step)


def rate_at(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then half a cosine down to a hundredth; in the bold steps once more, from lower."""
    first, length, rate, warmup = 0, recipe.main, recipe.rate, recipe.warmup
    if step >= recipe.main:
        first, length, rate, warmup = recipe.main, recipe.bold, recipe.rate_bold, recipe.warmup_bold
    step -= first
    if step < warmup:
        return rate * (step + 1) / warmup
    return rate * (0.01 + 0.99 * (1 + math.cos(math.pi * step / length)) / 2)


# ------------------------------------------------------------------------------------------------------------ training
class Training:
    """A run: its state, and how it goes on."""

    def __init__(self, run: Path, recipe: Recipe) -> None:
        self.run, self.recipe = run, recipe
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.words = words_of_labels()
        self.texts = Texts(self.words)
        self.model = make_model(self.texts, recipe.seed).to(self.device)
        self.model.logit_scale.requires_grad_(False)
        # A plain classifier beside the texts: while they still say nothing, it tells the image tower what to look at.
        self.helper = torch.nn.Linear(CONFIG["vision_cfg"]["width"], len(self.words)).to(self.device)
        parameters = [*self.model.parameters(), *self.helper.parameters()]
        decayed = [p for p in parameters if p.ndim >= 2]
        others = [p for p in parameters if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": recipe.decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98))
        self.average = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.step = 0
        if (run / "last.pt").exists():
            self._load()

    def _load(self) -> None:
        state = torch.load(self.run / "last.pt", map_location=self.device, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise SystemExit(f"{self.run} holds a run of another recipe: {state['recipe']}")
        self.model.load_state_dict(state["model"])
        self.helper.load_state_dict(state["helper"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average, self.step = state["average"], state["step"]

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "helper": self.helper.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "recipe": asdict(self.recipe),
        }
        with atomic_path(self.run / "last.pt") as part:
            torch.save(state, part)

    def learn(self, crops: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
        """One step; returns the loss and the share of crops whose main label came first."""
        recipe = self.recipe
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + self.step)
        plain = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
        images = jitter(plain, generator, self.step >= recipe.main)
        images = ((images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]).to(self.device)
        goal = torch.from_numpy(targets).to(self.device)
        prompts = self.texts.throw(np.random.default_rng((recipe.seed, self.step, 1))).to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(recipe, self.step)
        # For 65 tokens, products of small matrices beat the fused kernel on a CPU: 0.87 against 1.27 s a step.
        with torch.autocast(self.device.type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            states = image_states(self.model, images)
            seen = F.normalize((states @ self.model.visual.proj).float(), dim=-1)
            read = text_features(self.model, prompts).float()
            guessed = self.helper(states).float()
        cosines = seen @ read.T
        scale = scale_at(recipe, self.step)
        logits = scale * cosines
        # Cosines of large CLIP models are all positive and close together, and CLIP-DIY's product of similarity and
        # saliency relies on it; a small model must be asked for the first.
        loss = loss_of(logits, goal) + 20 * (cosines.mean() - recipe.cone) ** 2
        loss = loss + loss_of(guessed, goal)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.model.logit_scale.fill_(math.log(scale))
        self.step += 1
        self._track()
        return float(loss.detach()), float((logits.argmax(1) == goal.argmax(1)).float().mean())

    def _track(self) -> None:
        weight = min(self.recipe.average, self.step / (self.step + 20))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - weight)

    def go(self) -> None:
        """Train to the end."""
        make_pool(self.run, self.recipe)
        context = multiprocessing.get_context("spawn")
        batches: Any = context.Queue(maxsize=3)
        job = (self.run, self.recipe, self.step, len(self.words), batches)
        context.Process(target=feed, args=job, daemon=True).start()
        start, losses, hits = time.monotonic(), [], []
        while self.step < self.recipe.steps:
            loss, hit = self.learn(*batches.get())
            losses.append(loss)
            hits.append(hit)
            if self.step % 20 == 0 or self.step == self.recipe.steps:
                spent = (time.monotonic() - start) / len(losses)
                line = (
                    f"step {self.step:5} loss {np.mean(losses[-20:]):.3f} top-1 {np.mean(hits[-20:]):.3f} {spent:.2f} s"
                )
                print(line, flush=True)
            if self.step % 100 == 0 or self.step == self.recipe.steps:
                self.save()

    def export(self, folder: Path) -> None:
        """Write the averaged weights and the config."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(pack_state(self.average, self.texts.ids), folder / "model.safetensors")
        config = {
            **CONFIG,
            "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "squash"},
            "trained_steps": self.step,
            "recipe": asdict(self.recipe),
            "templates": sorted(set(TEMPLATES)),
            "known_words": sorted({word for spelt in self.words for word in spelt}),
        }
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def main() -> None:
    """Read the command line and train or export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder for the pool of scenes and the checkpoints")
    parser.add_argument("--main", type=int, default=Recipe.main, help="main steps")
    parser.add_argument("--bold", type=int, default=Recipe.bold, help="steps after them with bolder changes")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of torch; 0 = its own choice")
    parser.add_argument("--export", action="store_true", help="write the averaged weights into the package")
    parser.add_argument("--to", type=Path, default=ASSETS, help="where --export writes")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    arguments.run.mkdir(parents=True, exist_ok=True)
    training = Training(arguments.run, Recipe(main=arguments.main, bold=arguments.bold))
    if arguments.export:
        training.export(arguments.to)
    else:
        training.go()


if __name__ == "__main__":
    main()
