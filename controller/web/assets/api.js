// The way to the server: JSON, orders, and events that are read as they come.

const KEY = "penstock-token";
let token = null;
try { token = sessionStorage.getItem(KEY); } catch { /* a browser that keeps nothing */ }

export function setToken(value) {
  token = value || null;
  try { token ? sessionStorage.setItem(KEY, token) : sessionStorage.removeItem(KEY); } catch { /* kept in memory */ }
}

export const hasToken = () => token !== null;

export class Trouble extends Error {
  constructor(status, told) {
    super(told?.message || `the server answers ${status}`);
    this.status = status;
    this.remedy = told?.remedy || "";
    this.reason = told?.reason || "";
  }
}

const headers = (more) => ({ ...(token ? { authorization: `Bearer ${token}` } : {}), ...more });

async function checked(response) {
  if (response.ok) return response;
  throw new Trouble(response.status, await response.json().catch(() => null));
}

const path = (namespace, name) => `/api/v1/rollouts/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;

export async function me() {
  return (await checked(await fetch("/api/v1/me", { headers: headers() }))).json();
}

export async function order(namespace, name, order) {
  const response = await fetch(`${path(namespace, name)}/orders`, {
    method: "POST",
    headers: headers({ "content-type": "application/json", "x-penstock-order": "1" }),
    body: JSON.stringify(order),
  });
  return (await checked(response)).json();
}

export const listEvents = (words) => `/api/v1/events${words ? `?q=${encodeURIComponent(words)}` : ""}`;
export const releaseEvents = (namespace, name) => `${path(namespace, name)}/events`;

const SILENCE = 10_000;
const wait = (millis, signal) => new Promise((done) => {
  const timer = setTimeout(done, millis);
  signal.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
});

// Reads events until `signal`; goes on by itself when the connection breaks, and says how it stands.
export async function follow(url, signal, { on, state }) {
  let pause = 500;
  let patience = 0;
  while (!signal.aborted) {
    try {
      await once(url, signal, on, () => { pause = 500; patience = 10; state("live"); });
    } catch (error) {
      if (signal.aborted) return;
      // A server that has just come back may not know yet what it showed before.
      const early = error.status === 404 && !error.told && patience-- > 0;
      if (error instanceof Trouble && !early && ![429, 502, 503, 504].includes(error.status)) {
        state("refused", error);
        return;
      }
      state("lost", error);
    }
    await wait(pause, signal);
    pause = Math.min(pause * 1.7, 5000);
  }
}

async function once(url, signal, on, alive) {
  const own = new AbortController();
  signal.addEventListener("abort", () => own.abort(), { once: true });
  let silent = setTimeout(() => own.abort(), SILENCE);
  const heard = () => { clearTimeout(silent); silent = setTimeout(() => own.abort(), SILENCE); };
  try {
    const response = await checked(await fetch(url, { headers: headers({ accept: "text/event-stream" }), signal: own.signal, cache: "no-store" }));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Error("the connection has ended");
      heard();
      text += value;
      const parts = text.split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        const event = read(part);
        if (!event) continue;
        alive();
        if (event.name === "end") throw Object.assign(new Trouble(event.data.status, event.data.trouble), { told: true });
        on(event.name, event.data);
      }
    }
  } finally {
    clearTimeout(silent);
    own.abort();
  }
}

function read(part) {
  let name = "message";
  const data = [];
  for (const line of part.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  return data.length ? { name, data: JSON.parse(data.join("\n")) } : null;
}
