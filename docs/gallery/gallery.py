"""The figures of the gallery: run from top to bottom, each cell makes the figure of its title."""

# %% What the figures are made of
import tempfile
from pathlib import Path

import clipdiy_lab as lab

folder = Path(tempfile.mkdtemp())
segmenter, scenes = lab.load("tiny"), lab.open_dataset("scenes")
names, sample = scenes.label_names, scenes[1]
run = segmenter.segment(sample.image, ["background", "car", "tv/monitor", "train"])
store = lab.embed(segmenter, scenes, folder / "scenes.store", limit=5)
paper = lab.evaluate(store, scenes, segmenter=segmenter, limit=5)
bare = lab.evaluate(store, scenes, lab.Config(saliency_weight=0), segmenter=segmenter, limit=5)
grid = {"saliency_weight": [0.0, 0.5, 1.0], "placement": ["stretched", "centred"]}
table = lab.sweep(store, scenes, grid, segmenter=segmenter, limit=5)
runs = {scenes[i].id: segmenter.segment(scenes[i].image, names) for i in range(5)}
masks = {scenes[i].id: scenes[i].mask for i in range(5)}

# %% image
figure = lab.figures.image(run, grid="s064")

# %% similarity
figure = lab.figures.similarity(run, "car")

# %% windows
figure = lab.figures.windows(run, "s064", "car")

# %% grids
figure = lab.figures.grids(run, "car")

# %% merged
figure = lab.figures.merged(run)

# %% saliency
figure = lab.figures.saliency(run)

# %% guide
figure = lab.figures.guide(run)

# %% guided
figure = lab.figures.guided(run, "car")

# %% fused
figure = lab.figures.fused(run)

# %% probability
figure = lab.figures.probability(lab.recombine(run, temperature=0.03))

# %% margin
figure = lab.figures.margin(run)

# %% stage
refined = lab.recombine(run, refine="pamr")
figure = lab.figures.stage(refined, "refined", ["car", "tv/monitor"])

# %% overlay
figure = lab.figures.overlay(run)

# %% overview
figure = lab.figures.overview(run, "car")

# %% comparison
first = list(runs.values())[:2]
ways = {"no saliency": [lab.recombine(one, saliency_weight=0) for one in first], "paper": first}
figure = lab.figures.comparison(ways, list(masks.values())[:2], names)

# %% explanation
figure = lab.figures.explanation(run, "flip_change")

# %% pixel_map
figure = lab.figures.pixel_map(lab.explain.uncertainty(run)["grid_agreement"], run=run)

# %% contributions
figure = lab.figures.contributions(lab.explain.pixel(run, y=180, x=140))

# %% miou_bars
figure = lab.figures.miou_bars(table)

# %% sweep_line
figure = lab.figures.sweep_line(table, "saliency_weight", by="placement")

# %% sweep_heat
figure = lab.figures.sweep_heat(table, "saliency_weight", "placement")

# %% cost
costs = lab.sweep(segmenter, scenes, {"scales": [[256], [256, 128], [256, 128, 64]]}, limit=2)
figure = lab.figures.cost(costs)

# %% dumbbells
figure = lab.figures.dumbbells(bare, paper, ("no saliency", "paper"))

# %% differences
figure = lab.figures.differences(lab.compare(bare, paper, names=("no saliency", "paper")))

# %% confusion
figure = lab.figures.confusion(paper)

# %% error_budget
budget = lab.explain.error_budget(store, scenes, segmenter=segmenter, limit=5)
figure = lab.figures.error_budget(budget)

# %% trimap
figure = lab.figures.trimap(bare, paper, names=["no saliency", "paper"])

# %% reliability
figure = lab.figures.reliability(lab.calibration(store, scenes, segmenter=segmenter, limit=5))

# %% worst_and_best
figure = lab.figures.worst_and_best(lab.results.image_scores(paper), runs, 2, truth=masks, names=names)

# %% doubtful
regions = lab.results.doubtful(paper, store, scenes, segmenter=segmenter, least=0.001)
figure = lab.figures.doubtful(regions, runs, masks, names, 2)

# %% theme
figure = lab.figures.theme(lab.figures.overlay(run), "dark")

# %% at_column_width
figure = lab.figures.at_column_width(lab.figures.overlay(run), columns=1)

# %% save
figure = lab.figures.overlay(run)
lab.figures.save(figure, folder / "overlay.html")  # .svg, .pdf and .png need Chromium or Chrome

# %% save_all
figure = lab.figures.merged(run)
lab.figures.save_all({folder / "merged.html": figure, folder / "margin.html": lab.figures.margin(run)})
