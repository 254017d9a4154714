// One scene under changing knobs: keeps what a change does not touch, so that a slider costs what it must.

import { candidates, choose, competing, decide, eachRow, factors, fusedScores, layout } from "./fuse.js";
import { entropy, gridMaps } from "./maps.js";
import { backgroundThreshold, flip, gridScores, parts, read } from "./parts.js";
import { refinement } from "./refine.js";

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {import("./scene.js").Knobs} Knobs */
/** @typedef {import("./fuse.js").Decision} Decision */
/** @typedef {import("./maps.js").GridMaps} GridMaps */
/** @typedef {import("./parts.js").Part} Part */
/** @typedef {import("./parts.js").Shares} Shares */

/**
 * What there is to say of a pixel or a region.
 * @typedef {object} Story
 * @property {number[]} labels competing ones, the highest score first
 * @property {number[]} scores of them
 * @property {number[][]} byGrid of them, what each grid gives; empty where a score is no sum over the grids
 * @property {number} winner
 * @property {number} runnerUp -1: no rival
 * @property {number} margin
 * @property {number | null} saliency mean under the shares
 * @property {{change: number, rival: number} | null} flip of the saliency weight
 * @property {number | null} threshold saliency below which it is background
 * @property {number[]} without the winner when each grid is left out
 */

/** Of six grids there are 64 subsets, each as dear as the labels themselves. */
const MOST_GRIDS = 6;

export class Engine {
  /** @param {Scene} scene */
  constructor(scene) {
    this.scene = scene;
    /** @type {Map<string, {key: string, value: any}>} */
    this.kept = new Map();
  }

  /**
   * @template T
   * @param {string} name
   * @param {any} key
   * @param {() => T} make
   * @returns {T}
   */
  keep(name, key, make) {
    const text = JSON.stringify(key);
    const held = this.kept.get(name);
    if (held && held.key === text) return held.value;
    const value = make();
    this.kept.set(name, { key: text, value });
    return value;
  }

  /** @param {Knobs} knobs */
  layout(knobs) {
    const key = [knobs.placement, knobs.interpolation, knobs.align_corners];
    return this.keep("layout", key, () => layout(this.scene, knobs));
  }

  /** @param {Knobs} knobs @param {ReadonlySet<number>} hidden */
  competing(knobs, hidden) {
    const key = [knobs.background, knobs.keep_labels, knobs.weights, [...hidden].sort()];
    return this.keep("competing", key, () => competing(this.scene, knobs, hidden));
  }

  /** @param {Knobs} knobs */
  refinement(knobs) {
    const { refine, refine_iterations, refine_dilations, refine_radius, refine_eps } = knobs;
    const key = [refine, refine_iterations, refine_dilations, refine_radius, refine_eps];
    return this.keep("refinement", key, () => refinement(this.scene, knobs));
  }

  /** @param {Knobs} knobs @param {ReadonlySet<number>} hidden */
  mergedKey(knobs, hidden) {
    return [
      knobs.weights,
      knobs.placement,
      knobs.interpolation,
      knobs.align_corners,
      this.competing(knobs, hidden),
      knobs.background === "threshold" && [knobs.background_threshold, knobs.logit_scale],
    ];
  }

  /**
   * Labels and margins of the frame.
   * @param {Knobs} knobs
   * @param {ReadonlySet<number>} hidden labels that are switched off
   * @returns {Decision}
   */
  decide(knobs, hidden) {
    if (knobs.refine !== "none") return this.refined(knobs, hidden).decision;
    return this.keep("decision", this.scoresKey(knobs, hidden), () => {
      const found = this.keep("candidates", this.mergedKey(knobs, hidden), () =>
        candidates(this.scene, knobs, this.layout(knobs), this.competing(knobs, hidden)),
      );
      return choose(this.scene, knobs, found);
    });
  }

  /** Whether labels can be had within a frame: a refinement that was not made yet takes longer. @param {Knobs} knobs @param {ReadonlySet<number>} hidden */
  ready(knobs, hidden) {
    return knobs.refine === "none" || this.kept.get("refined")?.key === JSON.stringify(this.refinedKey(knobs, hidden));
  }

  /** @param {Knobs} knobs @param {ReadonlySet<number>} hidden */
  refined(knobs, hidden) {
    return this.keep("refined", this.refinedKey(knobs, hidden), () => {
      const { labels } = this.competing(knobs, hidden);
      const scores = this.scores({ ...knobs, refine: "none" }, hidden);
      const operator = this.refinement(knobs);
      const refined = operator ? operator.refined(scores, labels.length) : scores;
      return { scores: refined, decision: decide(refined, labels, this.scene.height * this.scene.width) };
    });
  }

  /** @param {Knobs} knobs @param {ReadonlySet<number>} hidden */
  refinedKey(knobs, hidden) {
    const { refine, refine_iterations, refine_dilations, refine_radius, refine_eps } = knobs;
    return [this.scoresKey(knobs, hidden), refine, refine_iterations, refine_dilations, refine_radius, refine_eps];
  }

  /** @param {Knobs} knobs @param {ReadonlySet<number>} hidden */
  scoresKey(knobs, hidden) {
    return [this.mergedKey(knobs, hidden), knobs.background, knobs.saliency_weight, knobs.saliency_threshold];
  }

  /**
   * Scores that decide, of every competing label.
   * @param {Knobs} knobs
   * @param {ReadonlySet<number>} hidden
   * @returns {Float32Array} labels x pixels, in the order of `competing`
   */
  scores(knobs, hidden) {
    if (knobs.refine !== "none") return this.refined(knobs, hidden).scores;
    return this.keep("scores", this.scoresKey(knobs, hidden), () =>
      fusedScores(this.scene, knobs, this.layout(knobs), this.competing(knobs, hidden)),
    );
  }

  /**
   * Score of one label over the frame; null where it does not compete.
   * @param {Knobs} knobs
   * @param {ReadonlySet<number>} hidden
   * @param {number} label
   */
  scoreMap(knobs, hidden, label) {
    const { labels, background } = this.competing(knobs, hidden),
      place = labels.indexOf(label);
    if (place < 0) return null;
    const pixels = this.scene.height * this.scene.width;
    if (knobs.refine !== "none" || (knobs.background === "threshold" && label === background)) {
      return this.scores(knobs, hidden).subarray(place * pixels, (place + 1) * pixels);
    }
    const of = factors(this.scene, knobs, background),
      side = label === background ? 1 : 0;
    return this.merged(knobs, label).map((score, pixel) => score * of(pixel)[side]);
  }

  /**
   * Labels that one grid would give on its own, saliency as it is.
   * @param {Knobs} knobs
   * @param {ReadonlySet<number>} hidden
   * @param {string} name
   */
  alone(knobs, hidden, name) {
    const weights = Object.fromEntries(this.scene.grids.map((grid) => [grid.name, Number(grid.name === name)]));
    const only = { ...knobs, weights, refine: /** @type {const} */ ("none") };
    const among = this.competing(knobs, hidden);
    return choose(this.scene, only, candidates(this.scene, only, this.layout(knobs), among));
  }

  /**
   * Change of the saliency weight at which each pixel flips between label and background; NaN where none does.
   * @param {Knobs} knobs
   * @param {ReadonlySet<number>} hidden
   * @returns {Float32Array | null} null where saliency does not decide
   */
  flipMap(knobs, hidden) {
    const { found, of } = this.contest(knobs, hidden);
    if (!found || !found.background) return null;
    const weight = knobs.saliency_weight;
    return found.score.map((score, pixel) => {
      const own = /** @type {Float32Array} */ (found.background)[pixel];
      const [onLabel, onBackground] = of(pixel);
      const plain = score - own,
        guided = score * onLabel - own * onBackground;
      const at = plain / (plain - guided);
      return at >= 0 && at <= 1 && Number.isFinite(at) ? at - weight : NaN;
    });
  }

  /**
   * Saliency below which each pixel is background.
   * @param {Knobs} knobs
   * @param {ReadonlySet<number>} hidden
   * @returns {Float32Array | null}
   */
  thresholdMap(knobs, hidden) {
    const { found } = this.contest(knobs, hidden);
    if (!found || !found.background) return null;
    return found.score.map(
      (score, pixel) =>
        backgroundThreshold(/** @type {Float32Array} */ (found.background)[pixel], score, knobs.saliency_weight) ?? NaN,
    );
  }

  /**
   * How far saliency is above that threshold; negative on background.
   * @param {Knobs} knobs
   * @param {ReadonlySet<number>} hidden
   * @returns {Float32Array | null}
   */
  distanceMap(knobs, hidden) {
    const { saliency } = this.scene,
      cut = knobs.saliency_threshold;
    const hard = (/** @type {number} */ soft) => (cut === null ? soft : Number(soft > Math.fround(cut)));
    return (
      this.thresholdMap(knobs, hidden)?.map(
        (threshold, pixel) => hard(/** @type {Float32Array} */ (saliency)[pixel]) - threshold,
      ) ?? null
    );
  }

  /**
   * The label that takes over where the saliency weight flips a pixel; -1 where it flips none.
   * @param {Knobs} knobs
   * @param {ReadonlySet<number>} hidden
   * @returns {Int16Array | null}
   */
  flipLabels(knobs, hidden) {
    const changes = this.flipMap(knobs, hidden),
      { found } = this.contest(knobs, hidden);
    if (!changes || !found) return null;
    const { labels } = this.decide(knobs, hidden);
    return labels.map((label, pixel) =>
      Number.isNaN(changes[pixel]) ? -1 : label === found.index ? found.label[pixel] : found.index,
    );
  }

  /** Whether scores are sums over the grids, few enough to look at every subset of them. @param {Knobs} knobs @param {ReadonlySet<number>} hidden */
  additive(knobs, hidden) {
    const { labels, background } = this.competing(knobs, hidden),
      grids = this.scene.grids.length;
    const sums = knobs.refine === "none" && !(knobs.background === "threshold" && background >= 0);
    return sums && labels.length > 1 && grids > 1 && grids <= MOST_GRIDS;
  }

  /**
   * What each grid does for the labels; null where that cannot be said.
   * @param {Knobs} knobs
   * @param {ReadonlySet<number>} hidden
   * @returns {GridMaps | null}
   */
  gridMaps(knobs, hidden) {
    if (!this.additive(knobs, hidden)) return null;
    return this.keep("gridMaps", this.scoresKey(knobs, hidden), () =>
      gridMaps(this.scene, knobs, this.layout(knobs), this.competing(knobs, hidden), this.decide(knobs, hidden).labels),
    );
  }

  /**
   * How torn each pixel is between its labels.
   * @param {Knobs} knobs
   * @param {ReadonlySet<number>} hidden
   * @param {number} temperature
   */
  entropyMap(knobs, hidden, temperature) {
    return entropy(this.scores(knobs, hidden), this.scene.height * this.scene.width, temperature);
  }

  /**
   * What decides between a label and the background where saliency enters the scores, unrefined.
   * @param {Knobs} knobs
   * @param {ReadonlySet<number>} hidden
   */
  contest(knobs, hidden) {
    const among = this.competing(knobs, hidden);
    if (!this.guided(knobs, hidden) || knobs.refine !== "none") return { found: null, of: () => [1, 1] };
    this.decide(knobs, hidden);
    const found = this.keep("candidates", this.mergedKey(knobs, hidden), () =>
      candidates(this.scene, knobs, this.layout(knobs), among),
    );
    return { found, of: factors(this.scene, { ...knobs, saliency_weight: 1 }, among.background) };
  }

  /** Whether saliency enters the scores. @param {Knobs} knobs @param {ReadonlySet<number>} hidden */
  guided(knobs, hidden) {
    return (
      Boolean(this.scene.saliency) && knobs.background === "saliency" && this.competing(knobs, hidden).background >= 0
    );
  }

  /**
   * Share of every fused score in the mean score of some pixels.
   * @param {Knobs} knobs
   * @param {number[]} pixels
   * @returns {Shares}
   */
  shares(knobs, pixels) {
    const operator = this.refinement(knobs);
    /** @type {Shares} */
    const found = new Map();
    for (const pixel of pixels) {
      if (!operator) found.set(pixel, 1 / pixels.length);
      else
        operator.neighbours(pixel).forEach((value, at) => {
          if (value) found.set(at, (found.get(at) ?? 0) + value / pixels.length);
        });
    }
    return found;
  }

  /**
   * The parts of a label's mean score over some pixels; null where that score is no sum over cells.
   * @param {Knobs} knobs
   * @param {ReadonlySet<number>} hidden
   * @param {number[]} pixels
   * @param {number} label
   * @returns {Part[] | null}
   */
  parts(knobs, hidden, pixels, label) {
    const { background } = this.competing(knobs, hidden);
    if (knobs.background === "threshold" && label === background) return null;
    const reading = this.keep("reading", [knobs, background, pixels], () =>
      read(this.scene, knobs, this.layout(knobs), this.shares(knobs, pixels), background),
    );
    return parts(this.scene, knobs, reading, label, label === background);
  }

  /**
   * Say who wins at some pixels, by how much, and what would change it.
   * @param {Knobs} knobs
   * @param {ReadonlySet<number>} hidden
   * @param {number[]} pixels one, or a region whose mean score is looked at
   * @returns {Story}
   */
  story(knobs, hidden, pixels) {
    const among = this.competing(knobs, hidden);
    const { labels, background } = among;
    const shares = this.shares(knobs, pixels);
    const grids = gridScores(this.scene, knobs, this.layout(knobs), shares, among);
    const total = (/** @type {Float64Array[]} */ scores) =>
      labels.map((_, place) => scores.reduce((sum, of) => sum + of[place], 0));
    const bound = knobs.background === "threshold" && background >= 0;
    const scores = total(grids.now);
    if (bound) scores[labels.indexOf(background)] = this.mean(knobs, hidden, pixels, background);
    const order = labels.map((_, place) => place).sort((one, other) => scores[other] - scores[one] || one - other);
    const winner = order[0];
    const merged = total(grids.plain);
    const guided = this.guided(knobs, hidden);
    const turn = guided
      ? flip(Float64Array.from(merged), Float64Array.from(total(grids.guided)), knobs.saliency_weight, winner)
      : null;
    const own = labels.indexOf(background);
    const best = Math.max(...merged.filter((_, place) => place !== own));
    return {
      labels: order.map((place) => labels[place]),
      scores: order.map((place) => scores[place]),
      byGrid: order.map((place) => (bound && place === own ? [] : grids.now.map((of) => of[place]))),
      winner: labels[winner],
      runnerUp: order.length > 1 ? labels[order[1]] : -1,
      margin: order.length > 1 ? scores[winner] - scores[order[1]] : 0,
      saliency:
        this.scene.saliency &&
        [...shares].reduce(
          (sum, [at, value]) => sum + value * /** @type {Float32Array} */ (this.scene.saliency)[at],
          0,
        ),
      flip: turn && { change: turn.change, rival: labels[turn.rival] },
      threshold:
        guided && knobs.refine === "none" && pixels.length === 1 && labels.length > 1
          ? backgroundThreshold(merged[own], best, knobs.saliency_weight)
          : null,
      without: bound
        ? []
        : grids.now.map((of) => {
            const rest = scores.map((score, place) => score - of[place]);
            return labels[rest.indexOf(Math.max(...rest))];
          }),
    };
  }

  /** @param {Knobs} knobs @param {ReadonlySet<number>} hidden @param {number[]} pixels @param {number} label */
  mean(knobs, hidden, pixels, label) {
    const map = this.scoreMap(knobs, hidden, label);
    return map ? pixels.reduce((sum, pixel) => sum + map[pixel], 0) / pixels.length : NaN;
  }

  /** Merged scores of one label over the frame. @param {Knobs} knobs @param {number} label */
  merged(knobs, label) {
    const map = new Float32Array(this.scene.height * this.scene.width);
    eachRow(this.scene, knobs, this.layout(knobs), [label], (scores, y) => map.set(scores, y * this.scene.width));
    return map;
  }
}
