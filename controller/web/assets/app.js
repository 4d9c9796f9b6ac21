// Which view is shown, whether it is live, and what is shown when it is not.

import { follow, hasToken, listEvents, me, releaseEvents, setToken } from "./api.js";
import { h, replace } from "./dom.js";
import { List } from "./list.js";
import { Release } from "./release.js";
import { code } from "./text.js";

const main = document.getElementById("main");
const live = document.getElementById("live");
const lost = document.getElementById("lost");
const leave = document.getElementById("leave");
const words = { connecting: "connecting", live: "live", lost: "connection lost", refused: "not live" };
let under = null;
let lostSince = null;

function standing(state, error) {
  if (live.dataset.state !== state) {
    live.dataset.state = state;
    live.querySelector(".text").textContent = words[state];
  }
  if (state === "lost") {
    lostSince ??= Date.now();
    const since = new Date(lostSince).toLocaleTimeString([], { hour12: false });
    lost.textContent = `Connection lost at ${since}: what you see is from before. Trying again… Releases go on by themselves; from a terminal: penstock abort NAME`;
    lost.title = String(error?.message ?? "");
  } else if (state === "live") {
    lostSince = null;
  }
  lost.hidden = state !== "lost";
  main.dataset.stale = state === "lost";
}

function refused(error) {
  standing("refused");
  document.title = "Penstock";
  if (error.status === 401) return signIn(error);
  const title = { 403: "You may not see this", 404: "Not here" }[error.status] ?? "This can't be shown";
  replace(main, h("section", { class: "card state", id: "state" },
    h("h1", {}, title), h("p", {}, `${error.message}.`), error.remedy && h("p", { class: "remedy" }, code(error.remedy)),
    h("p", { class: "buttons" }, h("button", { type: "button", onclick: show }, "Try again"),
      hasToken() && h("button", { type: "button", onclick: () => { setToken(null); show(); } }, "Use another token"),
      location.pathname !== "/" && h("a", { class: "button", href: "/" }, "All releases"))));
}

function signIn(error) {
  const again = hasToken();
  setToken(null);
  const field = h("textarea", { id: "token", rows: "4", required: true, spellcheck: "false", autocomplete: "off", "aria-describedby": "token-how" });
  const enter = (event) => {
    event.preventDefault();
    setToken(field.value.replace(/\s+/g, ""));
    show();
  };
  main.replaceChildren(h("section", { class: "card state", id: "state" },
    h("h1", {}, again ? "This token is not valid (any more)" : "Who are you?"),
    again && h("p", { class: "bad" }, `${error.message}.`),
    h("form", { onsubmit: enter },
      h("label", { for: "token" }, "A token of the cluster"), field,
      h("p", { id: "token-how", class: "remedy" }, "Make one: ", h("code", {}, "kubectl create token NAME -n NAMESPACE"),
        ". What you may see and order is what that account may. It is kept in this tab only."),
      h("p", { class: "buttons" }, h("button", { class: "main" }, "Enter")))));
  field.addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); event.target.form.requestSubmit(); } });
  field.focus();
}

function show() {
  under?.abort();
  under = new AbortController();
  leave.hidden = !hasToken();
  const match = location.pathname.match(/^\/r\/([^/]+)\/([^/]+)\/?$/);
  standing("connecting");
  lostSince = null;
  lost.hidden = true;
  const state = (now, error) => (now === "refused" ? refused(error) : standing(now, error));
  if (match) {
    const [namespace, name] = match.slice(1).map(decodeURIComponent);
    const view = new Release(main, namespace, name, under.signal);
    follow(releaseEvents(namespace, name), under.signal, { on: (event, data) => view.take(event, data), state });
  } else {
    const view = new List(main, (query) => restart(query));
    let inner = null;
    const signal = under.signal;
    function restart(query) {
      inner?.abort();
      inner = new AbortController();
      signal.addEventListener("abort", () => inner.abort(), { once: true });
      follow(listEvents(query), inner.signal, { on: (event, data) => view.take(event, data), state });
    }
    restart(view.words());
  }
  me().then((told) => { document.getElementById("place").textContent = told.token ? `${told.place} · ${told.name}` : told.place; }).catch(() => {});
}

// Links within the page change what is shown, not the page.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='/']");
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || link.target) return;
  event.preventDefault();
  if (link.pathname === location.pathname && link.hash) {
    history.pushState(null, "", link.href);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
    return;
  }
  history.pushState(null, "", link.href);
  show();
  main.focus({ preventScroll: true });
  window.scrollTo(0, 0);
});
window.addEventListener("popstate", () => show());
leave.addEventListener("click", () => { setToken(null); show(); });
show();
