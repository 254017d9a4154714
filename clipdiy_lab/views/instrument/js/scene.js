// A scene: all that the fuse tier needs of a segmented image, as `clipdiy_lab.views.instrument.scene` wrote it.

/** @typedef {import("./matrices.js").Axis} Axis */

/**
 * Vectors at known places of the frame, compared with every label.
 * @typedef {object} Grid
 * @property {string} name
 * @property {string} title
 * @property {string} color of the grid in maps of grids
 * @property {number} window side of a cell's square, pixels
 * @property {number} rows
 * @property {number} cols
 * @property {number[]} tops
 * @property {number[]} lefts
 * @property {{y: Axis, x: Axis}} axes
 * @property {Float32Array} similarity rows x cols x labels
 */

/**
 * Knobs of the fuse tier by the names of `Config`.
 * @typedef {object} Knobs
 * @property {Record<string, number>} weights by the grid's name; 1 where it is not named
 * @property {"stretched" | "centred"} placement
 * @property {"bilinear" | "nearest"} interpolation
 * @property {boolean} align_corners
 * @property {"saliency" | "prompt" | "threshold" | "words" | "none"} background
 * @property {number} background_threshold
 * @property {number} logit_scale
 * @property {number} saliency_weight
 * @property {number | null} saliency_threshold
 * @property {number | null} keep_labels
 * @property {"none" | "pamr" | "guided"} refine
 * @property {number} refine_iterations
 * @property {number[]} refine_dilations
 * @property {number} refine_radius
 * @property {number} refine_eps
 * @property {number} temperature
 */

/**
 * @typedef {object} Scene
 * @property {number} version
 * @property {string} title
 * @property {number} height of the frame, pixels
 * @property {number} width
 * @property {[number, number]} size height and width of the image itself
 * @property {string} photograph address of the image at its own shape
 * @property {Uint8Array | null} pixels the frame, height x width x 3; null where no refinement can be made
 * @property {Grid[]} grids
 * @property {string[]} labels
 * @property {string[]} colors
 * @property {number} background index of the background label, -1 where there is none
 * @property {Float32Array | null} saliency height x width
 * @property {Int16Array | null} truth height x width, -1 where nothing is known
 * @property {Knobs} knobs
 * @property {Partial<Knobs>} paper the paper's settings
 * @property {import("./controls.js").Control[]} controls
 * @property {Record<string, {title: string, sentence: string, unit: string, kind: string, low: number | null, high: number | null}>} maps
 * @property {Record<string, {colors: string[], css: string}>} scales colours from the lowest to the highest number, by
 *   kind, and the same as a background
 * @property {string} mark colour of a mark
 * @property {number} temperature at which uncertainty is shown
 * @property {Record<string, string>} about encoder, saliency, and a caution where there is one
 */

const VERSION = 1;

/**
 * Whether a scene's similarities answer a background policy: words stand for the background in them, or its label
 * does, or nothing.
 * @param {Scene} scene
 * @param {string} policy
 */
export function answers({ background, knobs }, policy) {
  if (policy === "none") return true;
  return background >= 0 && (policy === "words") === (knobs.background === "words");
}

/** Whether a label other than the background is on. @param {Scene} scene @param {readonly number[]} hidden */
export function competes({ labels, background }, hidden) {
  return labels.some((_, label) => label !== background && !hidden.includes(label));
}

/**
 * Read a scene from what JSON holds.
 * @param {any} packed
 * @returns {Scene}
 */
export function unpack(packed) {
  if (packed.version !== VERSION) {
    throw new Error(`This scene has version ${packed.version}, but this page reads version ${VERSION}.`);
  }
  const { height, width } = packed;
  return {
    ...packed,
    grids: packed.grids.map((/** @type {any} */ grid) => ({ ...grid, similarity: floats(grid.similarity) })),
    pixels: packed.pixels && bytes(packed.pixels, height * width * 3),
    saliency: packed.saliency && floats(packed.saliency),
    truth: packed.truth && new Int16Array(aligned(packed.truth)),
  };
}

/** @param {string} text base64 of little-endian numbers @returns {ArrayBuffer} */
function aligned(text) {
  const binary = atob(text);
  const found = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place++) found[place] = binary.charCodeAt(place);
  return found.buffer;
}

/** @param {string} text @returns {Float32Array} */
function floats(text) {
  return new Float32Array(aligned(text));
}

/** @param {string} text @param {number} count @returns {Uint8Array} */
function bytes(text, count) {
  const found = new Uint8Array(aligned(text));
  if (found.length !== count) throw new Error(`The frame has ${found.length} bytes; expected ${count}.`);
  return found;
}
