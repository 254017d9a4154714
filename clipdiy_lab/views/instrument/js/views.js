// What can replace the picture: every view says what it paints, in the words and colours of the catalogue.

import { extent } from "./paint.js";

/** @typedef {import("./session.js").Session} Session */

/**
 * A picture of a view.
 * @typedef {object} Shown
 * @property {string} title
 * @property {string} sentence
 * @property {string} unit
 * @property {ArrayLike<number> | null} labels label indices, or null
 * @property {ArrayLike<number> | null} values numbers, or null
 * @property {{colors: string[], css: string, low: number, high: number} | null} scale of the numbers
 * @property {boolean} clear whether background stays clear, so that the photograph shows
 * @property {{colors: string[], names: string[]}} [palette] of what label indices stand for, where it is no labels
 * @property {string} [marker] stands above it where several are side by side
 */

/**
 * @typedef {object} View
 * @property {string} [title] on its button; those without stand in the list of explanations, by their map's title
 * @property {(session: Session) => boolean} there whether it makes sense
 * @property {(session: Session) => Shown[]} show
 */

/** Whether saliency decides between labels and background, pixel by pixel. @param {Session} session */
function balanced(session) {
  return session.engine.guided(session.knobs, session.hidden) && session.knobs.refine === "none";
}

/** @param {Session} session */
function additive(session) {
  return session.engine.additive(session.knobs, session.hidden);
}

/** @param {Session} session */
function ofGrids(session) {
  return session.engine.gridMaps(session.knobs, session.hidden);
}

/** @type {Record<string, View>} */
export const VIEWS = {
  labels: {
    title: "Labels",
    there: () => true,
    show: (session) => [
      labels(session, session.decision().labels, "Labels", "The label with the highest score at every pixel."),
    ],
  },
  score: {
    title: "Score",
    there: () => true,
    show: (session) => {
      const { label, cut } = session.state,
        { knobs } = session;
      const map = session.engine.scoreMap(knobs, session.hidden, label);
      const name = session.scene.labels[label];
      if (!map) return [nothing(`Score of ${name}`, "This label does not compete: it is hidden, or not kept.")];
      const shown = numbers(session, "score", map);
      shown.title = `${shown.title}: ${name}`;
      if (cut !== null) shown.values = Array.from(map, (value) => (value >= cut ? value : NaN));
      return [shown];
    },
  },
  grids: {
    title: "Grids",
    there: (session) => session.scene.grids.length > 1,
    show: (session) =>
      session.scene.grids.map((grid) => ({
        ...labels(
          session,
          session.engine.alone(session.knobs, session.hidden, grid.name).labels,
          "Each grid alone",
          "The labels that each grid would give on its own. Large windows show what is there, small ones its outline.",
        ),
        marker: grid.title,
      })),
  },
  margin: {
    title: "Margin",
    there: () => true,
    show: (session) => [numbers(session, "margin", session.decision().margin)],
  },
  saliency: {
    title: "Saliency",
    there: (session) => session.scene.saliency !== null,
    show: (session) => [numbers(session, "saliency", /** @type {Float32Array} */ (session.scene.saliency))],
  },
  truth: {
    title: "Truth",
    there: (session) => session.scene.truth !== null,
    show: (session) => [
      labels(
        session,
        /** @type {Int16Array} */ (session.scene.truth),
        "Ground truth",
        "The annotation. Transparent where there is none.",
      ),
    ],
  },
  errors: {
    title: "Errors",
    there: (session) => session.scene.truth !== null,
    show: (session) => {
      const truth = /** @type {Int16Array} */ (session.scene.truth);
      const found = session.decision().labels;
      const wrong = Int16Array.from(found, (label, at) => (truth[at] < 0 || truth[at] === label ? -1 : label));
      const share =
        wrong.reduce((sum, label) => sum + Number(label >= 0), 0) /
        truth.reduce((sum, label) => sum + Number(label >= 0), 0);
      return [
        {
          ...labels(
            session,
            wrong,
            "Errors",
            `Predicted labels where they differ from the annotation: ${(100 * share).toFixed(1)} % of the annotated pixels.`,
          ),
          clear: false,
        },
      ];
    },
  },
  background_threshold: {
    there: balanced,
    show: (session) => [
      numbers(session, "background_threshold", session.engine.thresholdMap(session.knobs, session.hidden) ?? []),
    ],
  },
  threshold_distance: {
    there: balanced,
    show: (session) => [
      numbers(session, "threshold_distance", session.engine.distanceMap(session.knobs, session.hidden) ?? []),
    ],
  },
  flip_change: {
    there: balanced,
    show: (session) => [numbers(session, "flip_change", session.engine.flipMap(session.knobs, session.hidden) ?? [])],
  },
  flip_label: {
    there: balanced,
    show: (session) => [
      { ...named(session, "flip_label", session.engine.flipLabels(session.knobs, session.hidden) ?? []), clear: false },
    ],
  },
  deciding_grid: {
    there: additive,
    show: (session) => {
      const { grids } = session.scene;
      const palette = { colors: grids.map(({ color }) => color), names: grids.map(({ title }) => title) };
      return [{ ...named(session, "deciding_grid", ofGrids(session)?.deciding ?? []), palette }];
    },
  },
  grid_shapley: {
    there: additive,
    show: (session) => {
      const maps = ofGrids(session)?.shapley ?? [];
      const far = Math.max(...maps.map((map) => Math.max(...extent(map).map(Math.abs)))) || 1;
      return maps.map((map, at) => {
        const shown = numbers(session, "grid_shapley", map);
        const scale = shown.scale && { ...shown.scale, low: -far, high: far };
        return { ...shown, scale, marker: session.scene.grids[at].title };
      });
    },
  },
  grid_flips: {
    there: additive,
    show: (session) => {
      const palette = { colors: [session.scene.mark], names: [session.scene.maps.grid_flips.unit] };
      return (ofGrids(session)?.flips ?? []).map((map, at) => ({
        ...named(session, "grid_flips", map),
        palette,
        marker: `without ${session.scene.grids[at].title}`,
      }));
    },
  },
  grid_agreement: {
    there: additive,
    show: (session) => [numbers(session, "grid_agreement", ofGrids(session)?.agreement ?? [])],
  },
  entropy: {
    there: (session) => session.engine.competing(session.knobs, session.hidden).labels.length > 1,
    show: (session) => {
      const { temperature } = session.scene;
      const shown = numbers(session, "entropy", session.engine.entropyMap(session.knobs, session.hidden, temperature));
      return [{ ...shown, sentence: `${shown.sentence} At temperature ${temperature}.` }];
    },
  },
};

/** @param {Session} session @param {ArrayLike<number>} map @param {string} title @param {string} sentence @returns {Shown} */
function labels(session, map, title, sentence) {
  return { title, sentence, unit: "", labels: map, values: null, scale: null, clear: true };
}

/** A map of indices in the catalogue's words. @param {Session} session @param {string} name @param {ArrayLike<number>} map @returns {Shown} */
function named(session, name, map) {
  const { title, sentence } = session.scene.maps[name];
  return labels(session, map, title, sentence);
}

/** @param {Session} session @param {string} name @param {ArrayLike<number>} map @returns {Shown} */
function numbers(session, name, map) {
  const { title, sentence, unit, kind, low, high } = session.scene.maps[name];
  const [least, most] = extent(map);
  let ends = [low ?? least, high ?? most];
  if (kind === "diverging") {
    const far = Math.max(Math.abs(ends[0]), Math.abs(ends[1])) || 1;
    ends = [-far, far];
  }
  return {
    title,
    sentence,
    unit,
    labels: null,
    values: map,
    scale: { ...session.scene.scales[kind], low: ends[0], high: ends[1] },
    clear: false,
  };
}

/** @param {string} title @param {string} sentence @returns {Shown} */
function nothing(title, sentence) {
  return { title, sentence, unit: "", labels: null, values: null, scale: null, clear: false };
}
