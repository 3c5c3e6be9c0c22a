// Puts the page together.

import { watchTelemetry } from "./api.js";
import { Announcer } from "./announcer.js";
import { Chat } from "./chat.js";
import { Conversation } from "./conversation.js";
import { byId } from "./dom.js";
import { startKey } from "./key.js";
import { Latency } from "./latency.js";
import { Levels } from "./levels.js";
import { Parts } from "./parts.js";
import { Readings } from "./readings.js";
import { Sessions } from "./sessions.js";
import { startTheme } from "./theme.js";
import { Timeline } from "./timeline.js";
import { Why } from "./why.js";

function show(view) {
  document.body.dataset.view = view;
  for (const one of ["chat", "feelings"]) byId(`view-${one}`).setAttribute("aria-pressed", String(one === view));
}

startTheme();
startKey();
const conversation = new Conversation();
const readings = new Readings(conversation);
const latency = new Latency(conversation);
const parts = new Parts(conversation);
new Levels(conversation);
new Chat(conversation);
new Timeline(conversation);
new Why(conversation);
new Announcer(conversation);

byId("view-chat").addEventListener("click", () => show("chat"));
byId("view-feelings").addEventListener("click", () => show("feelings"));
byId("pulse").addEventListener("click", () => show("feelings"));
document.addEventListener("limbic:why", () => {
  show("feelings");
  byId("why-title").scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
});

watchTelemetry({
  onEvent: ({ data }) => {
    parts.take(data);
    latency.take(data);
    readings.take(data);
  },
  onDown: (error) => parts.lost(error),
});
new Sessions(conversation).start();
