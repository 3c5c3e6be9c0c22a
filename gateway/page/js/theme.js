// Light, dark, or as the system says: one button goes round.

import { byId } from "./dom.js";

const KEY = "limbic.theme";
const NEXT = { system: "light", light: "dark", dark: "system" };
const SAYS = { system: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };

export function startTheme() {
  const button = byId("theme");
  const show = () => {
    const chosen = localStorage.getItem(KEY) ?? "system";
    if (chosen === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    button.setAttribute("aria-label", SAYS[chosen]);
    button.title = SAYS[chosen];
  };
  button.addEventListener("click", () => {
    localStorage.setItem(KEY, NEXT[localStorage.getItem(KEY) ?? "system"]);
    show();
  });
  show();
}
