// What the picture shows: a tab for every view, and a list of the maps that explain.

import { h } from "./dom.js";
import { VIEWS } from "./views.js";

/** @typedef {import("./session.js").Session} Session */

/** The view of a session, or labels where that makes no sense any more. @param {Session} session */
export function view(session) {
  const { view } = session.state;
  return Object.hasOwn(VIEWS, view) && VIEWS[view].there(session) ? view : "labels";
}

/** @param {Session} session */
export function choice(session) {
  const list = h("div", { class: "cdi-views", role: "tablist", "aria-label": "What the picture shows" });
  const why = h("select", {
    "aria-label": "Explanation map",
    on: { change: () => session.change({ view: why.value || "labels" }) },
  });
  const root = h("div", { class: "cdi-views" }, list, why);
  let shown = "";

  /** @param {[string, import("./views.js").View][]} there */
  function fill(there) {
    list.replaceChildren(
      ...there
        .filter(([, { title }]) => title)
        .map(([name, { title }]) =>
          h(
            "button",
            { type: "button", role: "tab", "data-name": name, on: { click: () => session.change({ view: name }) } },
            title ?? "",
          ),
        ),
    );
    why.replaceChildren(
      h("option", { value: "" }, "Explain …"),
      ...there
        .filter(([, { title }]) => !title)
        .map(([name]) => h("option", { value: name }, session.scene.maps[name].title)),
    );
    why.hidden = why.options.length === 1;
  }

  return {
    root,
    /** @param {string} current */
    update(current) {
      const there = Object.entries(VIEWS).filter(([, view]) => view.there(session));
      const names = there.map(([name]) => name).join();
      if (names !== shown) fill(there);
      shown = names;
      for (const tab of list.querySelectorAll("button"))
        tab.setAttribute("aria-selected", String(tab.dataset.name === current));
      why.value = VIEWS[current].title ? "" : current;
      why.classList.toggle("cdi-chosen", Boolean(why.value));
    },
  };
}
