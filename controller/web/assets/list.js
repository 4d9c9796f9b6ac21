// All releases, those that need a person on top.

import { age, ago, h, replace } from "./dom.js";

const GROUPS = [
  ["person", "Needs a person"],
  ["look", "Worth a look"],
  ["under-way", "Under way"],
  ["rest", "At rest"],
];

export class List {
  constructor(main, search) {
    this.main = main;
    this.items = null;
    document.title = "Releases – Penstock";
    this.field = h("input", { type: "search", id: "search", placeholder: "Find by name, namespace or phase", "aria-label": "Find releases", maxlength: "100", autocomplete: "off" });
    this.field.value = new URLSearchParams(location.search).get("q") ?? "";
    let pending = null;
    this.field.addEventListener("input", () => {
      clearTimeout(pending);
      pending = setTimeout(() => {
        const query = this.words();
        history.replaceState(null, "", query ? `/?q=${encodeURIComponent(query)}` : "/");
        search(query);
      }, 250);
    });
    this.body = h("div", { id: "list" }, skeleton());
    main.replaceChildren(h("div", { class: "bar" }, h("h1", { id: "title" }, "Releases"), h("p", { id: "counts", class: "counts" }), this.field), this.body);
    main.onkeydown = null;
    document.onkeydown = (event) => this.key(event);
  }

  words() { return this.field.value.trim(); }

  key(event) {
    if (event.key === "/" && document.activeElement !== this.field && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.field.focus();
    }
    const down = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
    if (!down || event.ctrlKey || event.metaKey || event.altKey || (document.activeElement === this.field && event.key.length === 1)) return;
    const rows = [...this.body.querySelectorAll("a.row")];
    const at = rows.indexOf(document.activeElement);
    const next = rows[Math.min(rows.length - 1, Math.max(0, at + down))];
    if (next) { event.preventDefault(); next.focus(); }
  }

  take(event, data) {
    if (event !== "list") return;
    const count = (kind) => data.counts[kind] ?? 0;
    document.title = `${count("person") ? `(${count("person")}) ` : ""}Releases – Penstock`;
    const counts = document.getElementById("counts");
    const told = GROUPS.filter(([kind]) => count(kind)).map(([kind, title]) => h("span", { class: `count ${kind}` }, h("b", {}, String(count(kind))), ` ${kind === "person" && count(kind) > 1 ? "need a person" : title.toLowerCase()}`));
    if (counts) replace(counts, told);
    if (!data.total) return replace(this.body, empty());
    if (!data.items.length) return replace(this.body, h("p", { class: "state" }, `None of ${data.total} releases has “${this.words()}” in its name, namespace or phase.`));
    const groups = GROUPS.map(([kind, title]) => [kind, title, data.items.filter((item) => item.urgency === kind)]);
    const sections = groups.filter(([, , items]) => items.length).map(([kind, title, items]) =>
      h("section", { class: `group ${kind}`, id: `group-${kind}`, "aria-label": title },
        h("h2", {}, title), h("ul", {}, items.map(row))));
    const more = data.found - data.items.length;
    replace(this.body, sections, more > 0 && h("p", { class: "state", id: "more" }, `and ${more} more: find them by name`));
  }
}

function row(item) {
  const { namespace, name, phase, urgency, message, step, weight, canary, stable, ready, since } = item;
  const href = `/r/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
  return h("li", {}, h("a", { class: "row", href },
    h("span", { class: `phase ${phase}` }, phase),
    h("span", { class: "name" }, h("span", { class: "namespace" }, `${namespace}/`), name),
    h("span", { class: "say" }, message),
    h("span", { class: "share" },
      weight === null ? h("span", { class: "dim" }, stable ?? "") : [meter(weight), h("span", { class: "number" }, `${weight} %`), step && h("span", { class: "dim" }, `step ${step}`)]),
    h("span", { class: "when dim" }, ago(since, "", ""))));
}

export function meter(weight, role = "canary") {
  const width = Math.max(0, Math.min(100, weight));
  return h("span", { class: `meter ${role}`, role: "img", "aria-label": `${weight} % of the traffic` }, h("span", { class: `fill w${Math.round(width / 5) * 5}` }));
}

function skeleton() {
  return h("ul", { class: "skeleton", "aria-label": "Loading" }, [1, 2, 3].map(() => h("li", {})));
}

function empty() {
  return h("section", { class: "card state", id: "empty" }, h("h2", {}, "No releases yet"),
    h("p", {}, "They appear here as soon as a Rollout is applied:"),
    h("p", { class: "remedy" }, h("code", {}, "kubectl apply -f rollout.yaml"), " on a cluster, or save a manifest in the folder of ", h("code", {}, "penstock local DIR"), "."));
}
