// Asks the engine what Python asks for: runs in Node and, joined with the engine, in a page.

import { Engine } from "../../../clipdiy_lab/views/instrument/js/engine.js";
import { unpack } from "../../../clipdiy_lab/views/instrument/js/scene.js";

const base64 = (array) => {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
};

/** Maps that explain, by the names of their stages; those of several grids joined, null where there is none. */
function mapsOf(engine, knobs, off) {
  const grids = engine.gridMaps(knobs, off);
  const made = {
    flip_change: engine.flipMap(knobs, off),
    flip_label: engine.flipLabels(knobs, off),
    background_threshold: engine.thresholdMap(knobs, off),
    threshold_distance: engine.distanceMap(knobs, off),
    grid_shapley: grids && joined(grids.shapley),
    grid_flips: grids && joined(grids.flips),
    deciding_grid: grids && grids.deciding,
    grid_agreement: grids && grids.agreement,
    entropy: engine.entropyMap(knobs, off, 0.01),
  };
  return Object.fromEntries(Object.entries(made).map(([name, map]) => [name, map && base64(map)]));
}

const joined = (maps) => {
  const found = new maps[0].constructor(maps.length * maps[0].length);
  maps.forEach((map, at) => found.set(map, at * map.length));
  return found;
};

/**
 * @param {any} packed a scene
 * @param {any[]} requests knobs, hidden labels and pixels of each, and whether its maps are asked for
 * @param {boolean} brief whether the scores of all pixels are left out
 */
export function answers(packed, requests, brief = false) {
  const scene = unpack(packed);
  const engine = new Engine(scene);
  return requests.map(({ knobs, hidden, pixels, maps = true }) => {
    const off = new Set(hidden);
    const { labels, margin } = engine.decide(knobs, off);
    return {
      labels: base64(labels),
      margin: base64(margin),
      maps: maps ? mapsOf(engine, knobs, off) : null,
      scores: brief ? null : base64(engine.scores(knobs, off)),
      competing: engine.competing(knobs, off).labels,
      pixels: pixels.map((at) => {
        const story = engine.story(knobs, off, at);
        return { story, parts: story.labels.map((label) => engine.parts(knobs, off, at, label)) };
      }),
    };
  });
}
