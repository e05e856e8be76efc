// Two small charts, each with its number and its scale: the share of time in which a kernel is busy, and messages a second.
import { duration, rate } from "./words.js";

const NS = "http://www.w3.org/2000/svg";
export const SPAN = 300; // seconds that the share of time is about
const BARS = 60;
const STEP = SPAN / BARS;
const POINTS = 60; // seconds that the messages are about
const NOW = 4; // seconds for which a rate is one of now
const HEIGHT = 24;

export function svg(name, attributes = {}) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  element.className = className;
  element.append(...children);
  return element;
}

// A number, and beside it a drawing with a scale on both axes. `top` is the word at the top of the scale.
function plot(shapes, width, bottom, begin) {
  const picture = svg("svg", { class: "plot", viewBox: `0 0 ${width} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  picture.append(...shapes);
  const number = make("b", "number", "–");
  const unit = make("span", "unit");
  const top = make("span", "");
  const scale = make("span", "scale", top, make("span", "", bottom));
  const axis = make("span", "axis", make("span", "", begin), make("span", "", "now"));
  scale.setAttribute("aria-hidden", "true");
  axis.setAttribute("aria-hidden", "true");
  const frame = make("span", "frame", scale, picture, axis);
  const element = make("span", "chart", make("span", "value", number, unit), frame);
  return { element, picture, number, unit, top };
}

export class BusyChart {
  #bars = new Map(); // by number of the step: how often it was looked at, and how often the kernel was busy
  #shape = svg("path", { class: "bars" });
  #known = svg("path", { class: "known" });
  #parts = plot([this.#known, this.#shape], BARS, "0", "5 min ago");
  #seen = make("span", "seen");

  constructor() {
    this.#parts.top.textContent = "100 %";
    this.#parts.unit.after(this.#seen);
    this.element = this.#parts.element;
  }

  add(busy, seconds) {
    const step = Math.floor(seconds / STEP);
    const bar = this.#bars.get(step) ?? { looks: 0, busy: 0 };
    bar.looks += 1;
    bar.busy += busy ? 1 : 0;
    this.#bars.set(step, bar);
  }

  // Where nothing was seen, because nobody looked or nothing answered, nothing is drawn.
  draw(seconds) {
    const last = Math.floor(seconds / STEP);
    let bars = "";
    let known = "";
    let looks = 0;
    let busy = 0;
    let seenSeconds = 0;
    for (const [step, bar] of this.#bars) {
      const x = BARS - 1 - (last - step);
      if (x < 0) {
        this.#bars.delete(step);
        continue;
      }
      looks += bar.looks;
      busy += bar.busy;
      seenSeconds += Math.min(STEP, bar.looks); // a look is about a second
      const height = (HEIGHT * bar.busy) / bar.looks;
      known += `M${x} ${HEIGHT - 1}h1v1h-1z`;
      if (height) bars += `M${x + 0.1} ${HEIGHT}v${-height}h.8v${height}z`;
    }
    if (bars + known + looks === this.drawn) return;
    this.drawn = bars + known + looks;
    this.#shape.setAttribute("d", bars);
    this.#known.setAttribute("d", known);
    const share = looks ? Math.round((100 * busy) / looks) : null;
    this.#parts.number.textContent = share === null ? "–" : `${share} %`;
    const seen = duration(seenSeconds);
    this.#seen.textContent = share === null ? "" : `of ${seen}`;
    const words = share === null ? "Not seen in the last 5 min" : `Busy ${share} % of ${seen} that were seen in the last 5 min`;
    if (this.#parts.picture.getAttribute("aria-label") !== words) this.#parts.picture.setAttribute("aria-label", words);
    this.element.dataset.share = share ?? "";
  }
}

export class RateChart {
  #count = null;
  #at = 0;
  #rates = []; // [when, how many a second], oldest first
  #line = svg("path", { class: "line" });
  #parts = plot([this.#line], POINTS, "0", "1 min ago");

  constructor(what) {
    this.what = what;
    this.element = this.#parts.element;
    this.#parts.unit.textContent = "/s";
  }

  // Counts become rates. A count that is smaller than the one before is that of another proxy.
  add(total, seconds) {
    if (this.#count !== null && total >= this.#count && seconds > this.#at) {
      this.#rates.push([seconds, (total - this.#count) / (seconds - this.#at)]);
    }
    if (seconds > this.#at) [this.#count, this.#at] = [total, seconds];
    this.draw(seconds);
  }

  draw(seconds) {
    this.#rates = this.#rates.filter(([at]) => at > seconds - POINTS);
    const highest = Math.max(0, ...this.#rates.map(([, one]) => one));
    const top = nice(highest);
    const points = this.#rates.map(([at, one]) => `${(POINTS - (seconds - at)).toFixed(2)} ${(HEIGHT - 1 - ((HEIGHT - 2) * one) / top).toFixed(2)}`);
    this.#line.setAttribute("d", points.length ? `M${points.join("L")}` : "");
    const last = this.#rates.at(-1);
    const now = last && seconds - last[0] < NOW ? rate(last[1]) : "–";
    this.#parts.number.textContent = now;
    this.#parts.top.textContent = top.toLocaleString("en");
    this.#parts.picture.setAttribute("aria-label", `${this.what}: ${now} messages a second, at most ${rate(highest)} in the last minute`);
    this.element.dataset.highest = highest;
  }
}

// The end of a scale: 1, 2 or 5, and zeros.
function nice(highest) {
  const power = 10 ** Math.floor(Math.log10(Math.max(highest, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((end) => end >= highest);
}
