// Draws what was measured. What it means is told beside it, in words that the server makes.

import { clock, h } from "./dom.js";

const PAD = 60_000;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const number = (value, unit) => value === null || value === undefined ? "–"
  : `${value >= 100 ? Math.round(value) : value >= 10 ? value.toFixed(1) : value === 0 ? "0" : value.toFixed(2)} ${unit}`;

const KINDS = [
  { key: "weight", title: "Share of the traffic", unit: "%", canary: (p) => p.weight },
  { key: "errors", title: "Error rate", unit: "%", canary: (p) => p.canary?.errors ?? null, stable: (p) => p.stable?.errors ?? null },
  { key: "latency", title: "Latency", unit: "ms", canary: (p) => p.canary?.latency ?? null, stable: (p) => p.stable?.latency ?? null },
  { key: "rate", title: "Requests a second", unit: "/s", canary: (p) => p.canary?.rate ?? null, stable: (p) => p.stable?.rate ?? null },
];

export class Charts {
  constructor(parent, signal) {
    this.points = [];
    this.told = null;
    this.sync = `penstock-${Math.random()}`;
    this.charts = KINDS.map((kind) => new Chart(kind, this));
    parent.replaceChildren(...this.charts.map((chart) => chart.figure));
    const redraw = () => this.draw(true);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw, { signal });
    const resized = new ResizeObserver(() => this.resize());
    resized.observe(parent);
    signal.addEventListener("abort", () => { resized.disconnect(); this.charts.forEach((chart) => chart.plot?.destroy()); }, { once: true });
    // Time goes on, also while nothing is measured.
    const timer = setInterval(() => this.draw(), 2000);
    signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  }

  take(curve) {
    this.points = curve.whole ? curve.points : [...this.points, ...curve.points];
    this.trouble = curve.trouble;
    this.draw();
  }

  tell(told) {
    const again = JSON.stringify([this.told?.limits, this.told?.started, this.told?.weights?.length]) !== JSON.stringify([told.limits, told.started, told.weights.length]);
    this.told = told;
    if (again) this.draw();
  }

  resize() { this.charts.forEach((chart) => chart.resize()); }

  // What is shown: the last release with a minute before it, or all that is known.
  shown() {
    const { started, weights } = this.told;
    const from = started ? started - PAD : 0;
    const first = this.points[0]?.at ?? Infinity;
    // Before anything was measured, decisions tell the share; it stays until the next one.
    const early = weights.filter(([at]) => at >= from && at < first).flatMap(([at, weight], n, all) => {
      const point = (time, share) => ({ at: time, weight: share, canary: null, stable: null });
      return [point(at, weight), ...(n + 1 === all.length && first !== Infinity ? [point(first - 1, weight)] : [])];
    });
    return [...early, ...this.points.filter((point) => point.at >= from)];
  }

  draw(anew = false) {
    if (!this.told || typeof uPlot === "undefined") return;
    const shown = this.shown();
    this.charts.forEach((chart) => chart.draw(shown, this.told, anew));
  }
}

class Chart {
  constructor(kind, all) {
    this.kind = kind;
    this.all = all;
    this.plot = null;
    this.now = h("p", { class: "now" });
    this.canvas = h("div", { class: "canvas", "aria-hidden": "true" });
    this.none = h("p", { class: "none" });
    this.title = h("h3", {}, kind.title);
    this.figure = h("figure", { class: `chart ${kind.key}`, id: `chart-${kind.key}` }, h("figcaption", {}, this.title, this.now), this.canvas, this.none);
  }

  limit(told) { return this.kind.key === "errors" ? told.limits.errors : this.kind.key === "latency" ? told.limits.latency : null; }

  draw(points, told, anew) {
    const { kind } = this;
    const two = Boolean(kind.stable);
    if (kind.key === "latency") this.title.textContent = `Latency ${told.limits.quantile}`;
    const x = points.map((point) => point.at / 1000);
    const data = [x, points.map(kind.canary), ...(two ? [points.map(kind.stable)] : [])];
    const any = data.slice(1).some((series) => series.some((value) => value !== null));
    this.canvas.hidden = !any;
    this.none.hidden = any;
    this.none.textContent = this.all.trouble ? `nothing can be measured: ${this.all.trouble}` : "nothing is measured yet";
    this.told = told;
    this.points = points;
    this.say(points.length - 1);
    if (!any) return;
    if (anew) { this.plot?.destroy(); this.plot = null; }
    if (!this.plot) this.plot = new uPlot(this.options(two), data, this.canvas);
    else this.plot.setData(data);
  }

  // The numbers at a moment, as text; the last ones while nobody points at the chart.
  say(at) {
    const { kind, told, points } = this;
    const point = points[at];
    const limit = this.limit(told);
    const part = (role, text) => h("span", { class: role }, h("span", { class: "key", "aria-hidden": "true" }), text);
    const canary = point ? kind.canary(point) : null;
    const parts = kind.stable
      ? [point?.canary && part("canary", `canary ${number(canary, kind.unit)}`), part("stable", `stable ${number(point ? kind.stable(point) : null, kind.unit)}`)]
      : [part("canary", `canary ${number(canary ?? told.weight, kind.unit)}`)];
    if (limit !== null && limit !== undefined) parts.push(part("limit", `limit ${number(limit, kind.unit)}`));
    const early = at !== points.length - 1 && point ? h("span", { class: "dim" }, clock(point.at)) : null;
    this.now.replaceChildren(...parts.filter(Boolean), ...(early ? [early] : []));
  }

  resize() {
    const width = this.canvas.clientWidth;
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: this.height() });
  }

  height() { return matchMedia("(max-width: 40rem)").matches ? 130 : 160; }

  options(two) {
    const { kind } = this;
    const stepped = kind.key === "weight";
    const line = (name, fill) => ({ stroke: () => colour(name), width: 2, fill: fill ? () => colour(fill) : undefined,
      points: { show: false }, spanGaps: false, paths: stepped ? uPlot.paths.stepped({ align: 1 }) : undefined });
    const axis = { stroke: () => colour("--dim"), grid: { stroke: () => colour("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const top = (u, low, high) => {
      const limit = this.limit(this.told) ?? 0;
      if (stepped) return [0, 100];
      return [0, Math.max((high ?? 0) * 1.15, limit * 1.6, kind.key === "errors" ? 1 : 1e-3)];
    };
    return {
      width: Math.max(200, this.canvas.clientWidth), height: this.height(), legend: { show: false },
      padding: [8, 26, 0, 0],
      cursor: { sync: { key: this.all.sync }, y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { time: true, range: (u, low, high) => [low, Math.max(high, Date.now() / 1000 - 1, low + 30)] }, y: { range: top } },
      series: [{}, line("--canary", "--canary-fill"), ...(two ? [line("--stable")] : [])],
      axes: [
        { ...axis, size: 26, space: 76, values: (u, all) => all.map((at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false, hour: "2-digit", minute: "2-digit", second: all.length > 1 && all[1] - all[0] < 60 ? "2-digit" : undefined })) },
        { ...axis, size: 50, values: (u, all) => all.map((value) => (kind.unit === "/s" ? `${value}` : `${value} ${kind.unit}`)), space: 34 },
      ],
      hooks: {
        drawAxes: [(u) => this.marks(u)],
        draw: [(u) => this.line(u)],
        setCursor: [(u) => this.say(u.cursor.idx ?? this.points.length - 1)],
      },
    };
  }

  // The limit, drawn in.
  line(u) {
    const limit = this.limit(this.told);
    if (limit === null || limit === undefined) return;
    const { ctx, bbox } = u;
    const y = u.valToPos(limit, "y", true);
    ctx.save();
    ctx.strokeStyle = colour("--bad");
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.restore();
  }

  // When a person, or the judge, ended it.
  marks(u) {
    const { ctx, bbox } = u;
    const [from, to] = [u.scales.x.min, u.scales.x.max];
    ctx.save();
    for (const decision of this.told.decisions) {
      const at = (decision.time ?? 0) / 1000;
      if (!["bad", "good"].includes(decision.tone) && !decision.person) continue;
      if (at < from || at > to) continue;
      const x = u.valToPos(at, "x", true);
      ctx.strokeStyle = colour({ bad: "--bad", good: "--good" }[decision.tone] ?? "--dim");
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }
}
