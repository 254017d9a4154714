// Draws the figures of a page when they come into view, on the paper of the page's theme.
(() => {
  const here = document.currentScript.src;
  const load = (name) =>
    new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = new URL(name, here).href;
      script.onload = done;
      script.onerror = () => failed(new Error(`${name} cannot be loaded`));
      document.head.append(script);
    });
  let library = null;
  const plotly = () => (library ??= Promise.all([load("plotly.min.js"), load("figure_templates.js")]));
  const dark = () => document.documentElement.dataset.theme === "dark";
  const drawn = new Map();

  async function draw(place) {
    await plotly();
    if (!drawn.has(place)) {
      drawn.set(place, JSON.parse(place.querySelector("script").textContent));
      place.textContent = "";
    }
    const { data, layout } = drawn.get(place);
    const template = window.figureTemplates[dark() ? "dark" : "light"];
    await window.Plotly.react(place, data, { template, ...layout }, { displayModeBar: false });
  }

  window.addEventListener("DOMContentLoaded", () => {
    const seen = new IntersectionObserver(
      (entries) => {
        for (const entry of entries.filter((one) => one.isIntersecting)) {
          seen.unobserve(entry.target);
          draw(entry.target);
        }
      },
      { rootMargin: "600px" },
    );
    document.querySelectorAll(".lab-figure").forEach((place) => seen.observe(place));
    new MutationObserver(() => [...drawn.keys()].forEach(draw)).observe(document.documentElement, {
      attributeFilter: ["data-theme"],
    });
  });
})();
