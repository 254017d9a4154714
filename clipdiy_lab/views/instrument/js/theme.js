// Light or dark as JupyterLab is, elsewhere as the system is; high contrast where either asks for it.

/** @param {HTMLElement} host @returns {() => void} stops it */
export function follow(host) {
  const wish = window.matchMedia("(prefers-contrast: more)");
  const read = () => {
    const { jpThemeLight: light, jpThemeName: name = "" } = document.body.dataset;
    if (light === undefined) delete host.dataset.theme;
    else host.dataset.theme = light === "true" ? "light" : "dark";
    host.dataset.contrast = wish.matches || name.includes("High Contrast") ? "more" : "normal";
  };
  const watch = new MutationObserver(read);
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name"] });
  wish.addEventListener("change", read);
  read();
  return () => {
    watch.disconnect();
    wish.removeEventListener("change", read);
  };
}
