// Which labels compete: those that the windows speak for most clearly; see `clipdiy_lab.method.presence`.

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {import("./scene.js").Knobs} Knobs */

/** What the background has in the place of a lead: no lead of one cosine over another is larger. */
const ALWAYS = 2;

/**
 * The labels that are kept, in label order; all of them where the knob is null.
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @param {number[]} labels those that are there
 * @param {number} background index, -1: none
 * @returns {number[]}
 */
export function keptLabels(scene, knobs, labels, background) {
  const others = labels.filter((label) => label !== background);
  if (knobs.keep_labels === null || knobs.keep_labels >= others.length) return labels;
  const leads = evidence(scene, knobs, others);
  const order = labels.map((label) => ({ label, lead: leads.get(label) ?? ALWAYS }));
  order.sort((one, other) => other.lead - one.lead || one.label - other.label);
  const most = knobs.keep_labels + Number(background >= 0);
  const kept = new Set(order.slice(0, most).map(({ label }) => label));
  return labels.filter((label) => kept.has(label));
}

/**
 * Largest lead of every label over the best other one in any cell of a grid with a weight.
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @param {number[]} labels without the background, which is nobody's rival
 * @returns {Map<number, number>}
 */
function evidence(scene, knobs, labels) {
  const leads = new Map(labels.map((label) => [label, -Infinity]));
  const all = scene.labels.length;
  for (const grid of scene.grids) {
    if ((knobs.weights[grid.name] ?? 1) <= 0) continue;
    for (let cell = 0; cell < grid.rows * grid.cols; cell++) {
      let first = -Infinity,
        second = -Infinity;
      for (const label of labels) {
        const cosine = grid.similarity[cell * all + label];
        if (cosine > first) [first, second] = [cosine, first];
        else if (cosine > second) second = cosine;
      }
      for (const label of labels) {
        const cosine = grid.similarity[cell * all + label];
        const rival = labels.length < 2 ? 0 : cosine === first ? second : first;
        leads.set(label, Math.max(/** @type {number} */ (leads.get(label)), cosine - rival));
      }
    }
  }
  return leads;
}
