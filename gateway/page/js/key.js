// Asks for a key where the gateway wants one. It stays in this browser, and every request carries it.

import { forgetKey, hasKey, rememberKey } from "./api.js";
import { byId } from "./dom.js";

export function startKey() {
  const dialog = byId("key");
  document.addEventListener("limbic:key", () => {
    byId("key-note").textContent = hasKey() ? "The key that this browser has is not known here, or has expired." : "Whoever runs this gateway makes one with `limbic keys create`.";
    if (!dialog.open) dialog.showModal();
  });
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = byId("key-field").value.trim();
    if (!key) return;
    rememberKey(key);
    // Everything begins anew: what was refused is asked again.
    location.reload();
  });
  const forget = byId("forget-key");
  forget.hidden = !hasKey();
  forget.addEventListener("click", () => {
    forgetKey();
    location.reload();
  });
}
