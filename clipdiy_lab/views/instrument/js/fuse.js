// From similarities to labels: merge, guide, decide. The same numbers as `clipdiy_lab.method`, in double precision.

import { matrix, stretches } from "./matrices.js";
import { keptLabels } from "./presence.js";

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {import("./scene.js").Grid} Grid */
/** @typedef {import("./scene.js").Knobs} Knobs */
/** @typedef {import("./matrices.js").Stretch} Stretch */

/**
 * How the grids of a scene spread over its frame; depends on the placement of cells alone.
 * @typedef {object} Layout
 * @property {Float64Array[]} downs of each grid, height x rows
 * @property {Float64Array[]} acrosses of each grid, width x cols
 * @property {Stretch[]} stretches of all columns of all grids together, in the grids' order
 */

/**
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @returns {Layout}
 */
export function layout(scene, knobs) {
  const downs = scene.grids.map((grid) => matrix(grid.axes.y, scene.height, knobs));
  const acrosses = scene.grids.map((grid) => matrix(grid.axes.x, scene.width, knobs));
  const cells = scene.grids.reduce((sum, grid) => sum + grid.cols, 0);
  const all = new Float64Array(scene.width * cells);
  for (let x = 0; x < scene.width; x++) {
    let place = x * cells;
    scene.grids.forEach((grid, index) => {
      all.set(acrosses[index].subarray(x * grid.cols, (x + 1) * grid.cols), place);
      place += grid.cols;
    });
  }
  return { downs, acrosses, stretches: stretches(all, scene.width) };
}

/** Weight of a grid in the merge: its knob over the number of grids. @param {Scene} scene @param {Knobs} knobs @param {Grid} grid */
export function share(scene, knobs, grid) {
  return (knobs.weights[grid.name] ?? 1) / scene.grids.length;
}

/**
 * Indices of the labels that compete, and of the background among the scene's labels (-1: none). The policy `none`
 * leaves the background label out.
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @param {ReadonlySet<number>} hidden labels that are switched off
 * @returns {{labels: number[], background: number}}
 */
export function competing(scene, knobs, hidden) {
  const gone = knobs.background === "none" ? scene.background : -1;
  const background = knobs.background === "none" || hidden.has(scene.background) ? -1 : scene.background;
  const there = scene.labels.map((_, label) => label).filter((label) => label !== gone && !hidden.has(label));
  return { labels: keptLabels(scene, knobs, there, background), background };
}

/**
 * Rows of merged scores as lines, one row at a time. The visitor gets, for stretch p of P and label l of L, the score
 * at the stretch's first pixel, `line[p * L + l]`, and its rise from pixel to pixel, `line[(P + p) * L + l]`.
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @param {Layout} plan
 * @param {number[]} labels
 * @param {(line: Float64Array, y: number) => void} visit
 */
function eachLine(scene, knobs, plan, labels, visit) {
  const halves = spreadAcross(scene, knobs, plan, labels);
  const line = new Float64Array(2 * plan.stretches.length * labels.length);
  for (let y = 0; y < scene.height; y++) {
    line.fill(0);
    scene.grids.forEach((grid, index) => {
      const half = halves[index];
      if (half) for (let row = 0; row < grid.rows; row++) add(line, half, row, plan.downs[index][y * grid.rows + row]);
    });
    visit(line, y);
  }
}

/** @param {Float64Array} line @param {Float64Array} half @param {number} row @param {number} weight */
function add(line, half, row, weight) {
  if (weight === 0) return;
  const offset = row * line.length;
  for (let place = 0; place < line.length; place++) line[place] += weight * half[offset + place];
}

/**
 * Rows of merged scores, one at a time: the visitor gets `scores[label * width + x]` of the labels asked for.
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @param {Layout} plan
 * @param {number[]} labels
 * @param {(scores: Float64Array, y: number) => void} visit
 */
export function eachRow(scene, knobs, plan, labels, visit) {
  const { width } = scene,
    count = labels.length,
    wide = plan.stretches.length * count;
  const scores = new Float64Array(count * width);
  eachLine(scene, knobs, plan, labels, (line, y) => {
    plan.stretches.forEach(({ start, end }, piece) => {
      for (let label = 0; label < count; label++) {
        const base = line[piece * count + label],
          slope = line[wide + piece * count + label];
        const offset = label * width;
        for (let x = start; x < end; x++) scores[offset + x] = base + (x - start) * slope;
      }
    });
    visit(scores, y);
  });
}

/**
 * Similarities of every row of cells at the beginning of every stretch, then their slopes, times the grid's share.
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @param {Layout} plan
 * @param {number[]} labels
 * @returns {(Float64Array | null)[]} of each grid, rows x 2 x stretches x labels; null where it has no weight
 */
function spreadAcross(scene, knobs, plan, labels) {
  const count = labels.length,
    all = scene.labels.length,
    pieces = plan.stretches.length;
  let before = 0;
  return scene.grids.map((grid) => {
    const first = before;
    before += grid.cols;
    const weight = share(scene, knobs, grid);
    if (weight === 0) return null;
    const half = new Float64Array(grid.rows * 2 * pieces * count);
    for (let row = 0; row < grid.rows; row++) {
      plan.stretches.forEach(({ base, slope }, piece) => {
        for (let col = 0; col < grid.cols; col++) {
          const at = weight * base[first + col],
            rise = weight * slope[first + col];
          if (at === 0 && rise === 0) continue;
          const cell = (row * grid.cols + col) * all;
          const low = (row * 2 * pieces + piece) * count,
            high = ((row * 2 + 1) * pieces + piece) * count;
          for (let place = 0; place < count; place++) {
            const cosine = grid.similarity[cell + labels[place]];
            half[low + place] += at * cosine;
            half[high + place] += rise * cosine;
          }
        }
      });
    }
    return half;
  });
}

/**
 * What is left of the merged scores once only winner and runner-up matter; saliency is not in it yet.
 * @typedef {object} Candidates
 * @property {Int16Array} label the best label that is not the background, per pixel
 * @property {Float32Array} score its merged score
 * @property {Float32Array} second that of the next one; minus infinity where there is none
 * @property {Float32Array | null} background what stands against it
 * @property {number} index of the background label, -1: none
 */

/**
 * Find the best two labels of every pixel, and the background's score.
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @param {Layout} plan
 * @param {{labels: number[], background: number}} among see `competing`
 * @returns {Candidates}
 */
export function candidates(scene, knobs, plan, among) {
  const { width } = scene,
    pixels = scene.height * width;
  const others = among.labels.filter((label) => label !== among.background);
  const found = {
    label: new Int16Array(pixels).fill(Math.max(among.background, 0)),
    score: new Float32Array(pixels).fill(-Infinity),
    second: new Float32Array(pixels).fill(-Infinity),
    background: among.background < 0 ? null : new Float32Array(pixels),
    index: among.background,
  };
  const best = bestTwo(others, plan.stretches, width);
  eachLine(scene, knobs, plan, others, (line, y) => {
    best.find(line);
    if (!others.length) return;
    found.score.set(best.score, y * width);
    found.second.set(best.second, y * width);
    found.label.set(best.label, y * width);
  });
  const own = found.background;
  if (own && knobs.background === "threshold") {
    eachRow(scene, knobs, plan, others, (scores, y) => {
      for (let pixel = y * width, x = 0; x < width; x++, pixel++) {
        own[pixel] = thresholdScore(scores, x, width, others.length, found.score[pixel], knobs);
      }
    });
  } else if (own) eachRow(scene, knobs, plan, [among.background], (scores, y) => own.set(scores, y * width));
  return found;
}

/**
 * Finds the best two of many lines at every pixel of a row. Of a stretch, only those lines are drawn that can be among
 * the best two somewhere in it: whose higher end reaches the second best of the lower ends.
 * @param {number[]} labels
 * @param {Stretch[]} stretches
 * @param {number} width
 */
function bestTwo(labels, stretches, width) {
  const count = labels.length,
    wide = stretches.length * count;
  const score = new Float64Array(width),
    second = new Float64Array(width),
    label = new Int16Array(width);
  return {
    score,
    second,
    label,
    /** @param {Float64Array} line see `eachLine` */
    find(line) {
      score.fill(-Infinity);
      second.fill(-Infinity);
      for (let piece = 0; piece < stretches.length; piece++) {
        const { start, end } = stretches[piece],
          first = piece * count,
          last = end - 1 - start;
        let high = -Infinity,
          bar = -Infinity;
        for (let place = first; place < first + count; place++) {
          const from = line[place],
            to = from + last * line[wide + place],
            low = from < to ? from : to;
          if (low > high) {
            bar = high;
            high = low;
          } else if (low > bar) bar = low;
        }
        for (let place = 0; place < count; place++) {
          const from = line[first + place],
            rise = line[wide + first + place],
            to = from + last * rise;
          if (from < bar && to < bar) continue;
          const name = labels[place];
          for (let x = start, value = from; x < end; x++, value = from + (x - start) * rise) {
            if (value > score[x]) {
              second[x] = score[x];
              score[x] = value;
              label[x] = name;
            } else if (value > second[x]) second[x] = value;
          }
        }
      }
    },
  };
}

/**
 * Score with which the background wins exactly where no other label is probable enough; see `ops.threshold_score`.
 * @param {Float64Array} scores labels x width
 * @param {number} x
 * @param {number} width
 * @param {number} count labels other than the background
 * @param {number} top the best of them
 * @param {Knobs} knobs
 */
function thresholdScore(scores, x, width, count, top, knobs) {
  const scale = knobs.logit_scale;
  let sum = 0;
  for (let place = 0; place < count; place++) sum += Math.exp(scale * (scores[place * width + x] - top));
  return top + (Math.log(Math.max(knobs.background_threshold, 1.1754943508222875e-38)) + Math.log(sum)) / scale;
}

/**
 * Factors that saliency puts on a label and on the background at a pixel; 1 where it does not enter.
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @param {number} background index, -1: none
 * @returns {(pixel: number) => [number, number]}
 */
export function factors(scene, knobs, background) {
  const { saliency } = scene;
  if (!saliency || background < 0 || knobs.background !== "saliency") return () => [1, 1];
  const weight = knobs.saliency_weight,
    threshold = knobs.saliency_threshold;
  return (pixel) => {
    const soft = saliency[pixel];
    const value = threshold === null ? soft : Number(soft > Math.fround(threshold));
    return [1 - weight + weight * value, 1 - weight + weight * (1 - value)];
  };
}

/**
 * Labels and margins of a frame.
 * @typedef {object} Decision
 * @property {Int16Array} labels index of the winner, per pixel
 * @property {Float32Array} margin its score minus the runner-up's; 0 where it has no rival
 */

/**
 * Let saliency decide between the best label and the background. Equal scores go to the label that comes first.
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @param {Candidates} found
 * @returns {Decision}
 */
export function choose(scene, knobs, found) {
  const pixels = scene.height * scene.width;
  const labels = new Int16Array(pixels),
    margin = new Float32Array(pixels);
  const of = factors(scene, knobs, found.index);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const [onLabel, onBackground] = found.background ? of(pixel) : [1, 1];
    const score = found.score[pixel] === -Infinity ? -Infinity : found.score[pixel] * onLabel;
    const second = found.second[pixel] === -Infinity ? -Infinity : found.second[pixel] * onLabel;
    const own = found.background ? found.background[pixel] * onBackground : -Infinity;
    const wins = own > score || (own === score && found.index < found.label[pixel]);
    labels[pixel] = wins ? found.index : found.label[pixel];
    const lead = wins ? own - score : score - Math.max(second, own);
    margin[pixel] = Number.isFinite(lead) ? lead : 0;
  }
  return { labels, margin };
}

/**
 * Fused scores of every competing label, before a refinement.
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @param {Layout} plan
 * @param {{labels: number[], background: number}} among
 * @returns {Float32Array} labels x pixels, in the order of `among.labels`
 */
export function fusedScores(scene, knobs, plan, among) {
  const { height, width } = scene;
  const pixels = height * width;
  const { labels, background } = among;
  const fused = new Float32Array(labels.length * pixels);
  const of = factors(scene, knobs, background);
  const place = labels.indexOf(background);
  const rest = labels.map((_, index) => index).filter((index) => index !== place);
  const others = new Float64Array(rest.length * width);
  eachRow(scene, knobs, plan, labels, (scores, y) => {
    const bound = knobs.background === "threshold" && place >= 0;
    if (bound) rest.forEach((index, at) => others.set(scores.subarray(index * width, (index + 1) * width), at * width));
    for (let x = 0; x < width; x++) {
      const pixel = y * width + x;
      const [onLabel, onBackground] = of(pixel);
      for (let index = 0; index < labels.length; index++) {
        fused[index * pixels + pixel] = scores[index * width + x] * (index === place ? onBackground : onLabel);
      }
      if (!bound) continue;
      let top = -Infinity;
      for (let at = 0; at < rest.length; at++) top = Math.max(top, others[at * width + x]);
      fused[place * pixels + pixel] = thresholdScore(others, x, width, rest.length, top, knobs);
    }
  });
  return fused;
}

/**
 * Winner and margin of given scores.
 * @param {Float32Array} scores labels x pixels
 * @param {number[]} labels
 * @param {number} pixels
 * @returns {Decision}
 */
export function decide(scores, labels, pixels) {
  const found = { labels: new Int16Array(pixels), margin: new Float32Array(pixels) };
  const next = new Float32Array(pixels).fill(-Infinity);
  const best = new Float32Array(pixels).fill(-Infinity);
  labels.forEach((label, index) => {
    const offset = index * pixels;
    for (let pixel = 0; pixel < pixels; pixel++) {
      const score = scores[offset + pixel];
      if (score > best[pixel]) {
        next[pixel] = best[pixel];
        best[pixel] = score;
        found.labels[pixel] = label;
      } else if (score > next[pixel]) next[pixel] = score;
    }
  });
  for (let pixel = 0; pixel < pixels; pixel++) {
    found.margin[pixel] = Number.isFinite(next[pixel]) ? best[pixel] - next[pixel] : 0;
  }
  return found;
}
