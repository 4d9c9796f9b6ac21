// One release: where it stands, what was measured, what was decided, and what a person can do about it.

import { Charts } from "./charts.js";
import { ask, tell } from "./dialog.js";
import { age, ago, clock, h, replace } from "./dom.js";
import { meter } from "./list.js";

export class Release {
  constructor(main, namespace, name, signal) {
    Object.assign(this, { main, namespace, name, told: null });
    document.title = `${name} – Penstock`;
    document.onkeydown = null;
    this.head = h("div", { id: "head" }, h("p", { class: "skeleton tall", "aria-label": "Loading" }));
    this.orders = h("div", { id: "orders", class: "orders", role: "group", "aria-label": "Orders" });
    this.charts = h("div", { id: "charts", class: "charts" });
    this.gone = h("div", { id: "gone" });
    this.side = h("div", { id: "side" });
    this.story = h("section", { class: "card story", "aria-labelledby": "story-title" }, h("h2", { id: "story-title" }, "What was decided, and by whom"), h("ol", { id: "decisions" }));
    main.replaceChildren(
      h("nav", { class: "path", "aria-label": "Path" }, h("a", { href: "/" }, "Releases"), h("span", { "aria-hidden": "true" }, "/"), h("span", {}, `${namespace}/${name}`)),
      h("div", { class: "card lead" }, this.head, this.orders),
      h("section", { class: "card", "aria-label": "Measurements over time" }, this.gone, this.charts),
      h("div", { class: "columns" }, this.story, this.side));
    this.drawing = new Charts(this.charts, signal);
    this.orders.addEventListener("click", (event) => this.order(event.target.closest("button[data-order]")), { signal });
    window.addEventListener("hashchange", () => this.point(), { signal });
    const timer = setInterval(() => this.told && this.countdown(), 1000);
    signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  }

  take(event, data) {
    if (event === "rollout") this.show(data);
    else if (event === "points") this.drawing.take(data);
  }

  order(button) {
    if (!button || button.getAttribute("aria-disabled") === "true") return;
    const offer = this.told.orders.find((offer) => offer.order === button.dataset.order);
    if (offer) ask(this.namespace, this.name, offer);
  }

  show(told) {
    const first = this.told === null;
    const newest = this.told?.decisions[0]?.id;
    this.told = told;
    document.title = `${told.urgency === "person" ? "● " : ""}${told.name}: ${told.phase} – Penstock`;
    replace(this.head, ...lead(told));
    replace(this.orders, ...buttons(told));
    replace(this.gone, told.gone && h("p", { class: "note" }, told.gone));
    replace(this.side, verdicts(told), pods(told));
    replace(document.getElementById("decisions"), told.decisions.length ? told.decisions.map(decision) : h("li", { class: "none" }, "Nothing was decided yet."));
    this.drawing.tell(told);
    this.countdown();
    if (first) this.point();
    else if (told.decisions[0] && told.decisions[0].id !== newest && told.decisions[0].tone !== "plain" && !document.getElementById("dialog").open) tell(told.decisions[0].sentence, told.decisions[0].tone);
  }

  // What is left of the step.
  countdown() {
    const element = document.getElementById("left");
    if (!element) return;
    const left = this.told.stepEnds - Date.now();
    const text = left > 0 ? `${age(0, left + 999)} left` : "time is over";
    if (element.textContent !== text) element.textContent = text;
  }

  // A link to a decision leads to it.
  point() {
    document.querySelectorAll(".pointed").forEach((element) => element.classList.remove("pointed"));
    if (!location.hash.startsWith("#d-")) return;
    const element = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!element) return tell("The decision of this link is not kept any more: the last 20 are.", "wait");
    element.classList.add("pointed");
    element.scrollIntoView({ block: "center" });
    element.querySelector("a")?.focus({ preventScroll: true });
  }
}

function lead(told) {
  const { canary, stable, weight, phase } = told;
  const split = canary
    ? h("p", { class: "split", id: "split" },
      h("span", { class: "big", id: "weight" }, `${weight} %`), h("span", {}, " to the canary ", h("b", { class: "canary" }, canary), `, ${100 - weight} % to `, h("b", { class: "stable" }, stable),
        told.acknowledged === false && h("span", { class: "dim" }, " (not applied by all proxies yet)")))
    : h("p", { class: "split", id: "split" }, h("span", { class: "big", id: "weight" }, stable ? "100 %" : "0 %"), stable ? h("span", {}, " to ", h("b", { class: "stable" }, stable)) : h("span", {}, " nothing is served yet"));
  return [
    h("div", { class: "title" }, h("h1", {}, told.name), h("span", { class: `phase ${phase}`, id: "phase" }, phase)),
    h("p", { class: `message ${told.urgency}`, id: "message" }, told.message),
    told.unseen && h("p", { class: "note" }, "A newer spec has been written and is not worked on yet."),
    split,
    canary && h("div", { class: "wide" }, meter(weight)),
    canary && told.steps.length > 0 && h("ol", { class: "steps", id: "steps", "aria-label": "Steps" }, told.steps.map((step) =>
      h("li", { class: step.standing, "aria-current": step.standing === "now" ? "step" : null },
        step.what, step.standing === "now" && told.stepEnds && h("span", { class: "left", id: "left" }, " ")))),
  ].filter(Boolean);
}

function buttons(told) {
  if (!told.mayOrder) return [h("p", { class: "note", id: "only-look" }, "You may look at this release, but give it no orders.")];
  const now = told.orders.filter((offer) => offer.refused === null);
  const later = told.orders.filter((offer) => offer.refused !== null);
  return [
    ...now.map((offer) => h("button", { type: "button", class: offer.tone, "data-order": offer.order, id: `order-${offer.order}`, title: offer.effect }, offer.label)),
    later.length > 0 && h("details", { id: "later" }, h("summary", {}, now.length ? "Not now" : "No order can be given now"),
      h("ul", {}, later.map((offer) => h("li", {}, h("b", {}, offer.label), `: ${offer.refused}`)))),
  ];
}

function verdicts(told) {
  if (!told.metrics.length) return null;
  return h("section", { class: "card", id: "verdicts", "aria-labelledby": "verdicts-title" }, h("h2", { id: "verdicts-title" }, "Verdicts on the canary"),
    h("ul", { class: "verdicts" }, told.metrics.map((metric) => h("li", { class: metric.verdict.replace(" ", "-") },
      h("span", { class: "verdict" }, metric.verdict), h("b", {}, metric.name),
      h("span", { class: "value" }, metric.value ?? "–"), h("span", { class: "dim" }, metric.limit ?? ""),
      h("span", { class: "counts dim" }, metric.total !== null && metric.total !== undefined ? `${metric.bad} of ${metric.total} requests` : "", metric.time ? [" · ", ago(metric.time)] : null),
      metric.verdict !== "good" && metric.message && h("span", { class: "why" }, metric.message)))));
}

function pods(told) {
  if (!told.revisions.length) return null;
  return h("section", { class: "card", id: "pods", "aria-labelledby": "pods-title" }, h("h2", { id: "pods-title" }, "Pods"),
    told.revisions.map((revision) => h("div", { class: `revision ${revision.role}`, id: `revision-${revision.name}` },
      h("h3", {}, h("span", { class: "role" }, revision.role), h("b", {}, revision.name),
        h("span", { class: "dim" }, `${revision.weight} % · ${revision.ready} of ${revision.scale} ready`, revision.created ? [" · ", ago(revision.created, "", " old")] : null)),
      revision.trouble && h("p", { class: "bad" }, revision.trouble),
      h("ul", {}, revision.pods.map((pod) => h("li", { class: pod.ready ? "ready" : "unready" },
        h("span", { class: "pod" }, pod.name), h("span", { class: "standing" }, pod.ready ? "ready" : "not ready"),
        pod.restarts > 0 && h("span", { class: "dim" }, `${pod.restarts} ${pod.restarts === 1 ? "restart" : "restarts"}`),
        pod.trouble && h("span", { class: "why" }, pod.trouble)))))));
}

function decision(item) {
  return h("li", { id: `d-${item.id}`, class: `${item.tone}${item.person ? " person" : ""}${location.hash === `#d-${item.id}` ? " pointed" : ""}` },
    h("a", { class: "when", href: `${location.pathname}#d-${item.id}`, title: "Link to this decision" }, item.time ? h("time", { datetime: new Date(item.time).toISOString() }, clock(item.time)) : "link"),
    h("span", { class: "say" }, item.sentence),
    h("span", { class: "dim since" }, ago(item.time)));
}
