// Asks the engine what Python asks for: runs in Node and, joined with the engine, in a page.

import { Engine } from "../../../clipdiy_lab/views/instrument/js/engine.js";
import { unpack } from "../../../clipdiy_lab/views/instrument/js/scene.js";

const base64 = (array) => {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
};

/**
 * @param {any} packed a scene
 * @param {any[]} requests knobs, hidden labels and pixels of each
 * @param {boolean} brief whether the scores of all pixels are left out
 */
export function answers(packed, requests, brief = false) {
  const scene = unpack(packed);
  const engine = new Engine(scene);
  return requests.map(({ knobs, hidden, pixels }) => {
    const off = new Set(hidden);
    const { labels, margin } = engine.decide(knobs, off);
    const flips = engine.flipMap(knobs, off),
      thresholds = engine.thresholdMap(knobs, off);
    return {
      labels: base64(labels),
      margin: base64(margin),
      flips: flips && base64(flips),
      thresholds: thresholds && base64(thresholds),
      scores: brief ? null : base64(engine.scores(knobs, off)),
      competing: engine.competing(knobs, off).labels,
      pixels: pixels.map((at) => {
        const story = engine.story(knobs, off, at);
        return { story, parts: story.labels.map((label) => engine.parts(knobs, off, at, label)) };
      }),
    };
  });
}
