// Gives orders: those that take something away ask for a reason first.

import { order as give } from "./api.js";
import { code } from "./text.js";
import { h } from "./dom.js";

const REASONS = ["error rate", "latency", "wrong answers", "suspected by another incident"];

const told = document.getElementById("told");
let hiding = null;

export function tell(text, tone = "plain") {
  clearTimeout(hiding);
  told.replaceChildren(h("p", { class: tone }, text));
  hiding = setTimeout(() => told.replaceChildren(), tone === "bad" ? 20_000 : 8_000);
}

export async function ask(namespace, name, offer) {
  if (!offer.confirm) {
    try {
      said(await give(namespace, name, { order: offer.order, reason: "" }));
    } catch (error) {
      tell(`${error.message}. ${error.remedy ?? ""}`, "bad");
    }
    return;
  }
  const dialog = document.getElementById("dialog");
  const reason = h("input", { id: "reason", type: "text", maxlength: "1000", autocomplete: "off", "aria-describedby": "dialog-effect" });
  const problem = h("p", { class: "bad", role: "alert", hidden: true });
  const send = h("button", { type: "submit", class: offer.tone === "danger" ? "danger" : "main", id: "send" }, `${offer.label} now`);
  const submit = async (event) => {
    event.preventDefault();
    send.disabled = true;
    send.textContent = "Ordering…";
    try {
      said(await give(namespace, name, { order: offer.order, reason: reason.value.trim() }));
      dialog.close();
    } catch (error) {
      problem.hidden = false;
      problem.replaceChildren(`${error.message}. `, ...code(error.remedy ?? ""));
      send.disabled = false;
      send.textContent = `${offer.label} now`;
    }
  };
  const chips = REASONS.map((text) => h("button", { type: "button", class: "chip", onclick: () => { reason.value = text; reason.focus(); } }, text));
  dialog.replaceChildren(h("form", { onsubmit: submit },
    h("h2", { id: "dialog-title" }, `${offer.label} ${name}?`),
    h("p", { id: "dialog-effect" }, offer.effect),
    h("label", { for: "reason" }, "Why, for the record"), reason,
    offer.order === "abort" && h("p", { class: "chips", "aria-label": "Common reasons" }, chips),
    problem,
    h("p", { class: "buttons" }, send, h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel"))));
  dialog.showModal();
  reason.focus();
}

function said(answer) {
  tell(answer.sentence, answer.followed === false ? "bad" : answer.followed ? "good" : "wait");
}
