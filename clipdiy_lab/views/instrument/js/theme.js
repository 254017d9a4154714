// Light or dark as JupyterLab is; elsewhere the style sheet follows the system.

/** @param {HTMLElement} host @returns {() => void} stops it */
export function follow(host) {
  const read = () => {
    const light = document.body.dataset.jpThemeLight;
    if (light === undefined) delete host.dataset.theme;
    else host.dataset.theme = light === "true" ? "light" : "dark";
  };
  const watch = new MutationObserver(read);
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  read();
  return () => watch.disconnect();
}
