// The kernels: one row each. A row is made once and then changed, so that the keyboard's focus stays where it is. All text that
// the gateway gave is set as text.
import { BusyChart, svg } from "./chart.js";
import { confirmed, setOff, withdraw } from "./question.js";
import { count, duration, plain, rate, split } from "./words.js";

const SHAPES = new Set(["busy", "idle", "starting", "restarting", "dead"]);
const AT_ONCE = 3; // requests of buttons; a browser has six connections, and the page asks for news on two of them
const PATIENCE = 2; // seconds after which a button's request that is not answered is shown so
const ACTIONS = [
  { label: "Interrupt", doing: "Interrupting", done: "Interrupted", method: "POST", end: "/interrupt" },
  { label: "Restart", doing: "Restarting", done: "Restarted", method: "POST", end: "/restart", asks: true },
  { label: "Shut down", doing: "Shutting down", done: "Shut down", method: "DELETE", end: "", asks: true },
];

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A text that the gateway gave, which turns nothing around it.
function foreign(text, className = "") {
  return make("bdi", className, plain(text));
}

class Row {
  constructor(kernel, kernels) {
    this.kernels = kernels;
    this.pending = null; // what a button has asked for: its action, and since when
    this.busy = new BusyChart();
    this.element = make("tr", "");
    this.element.setAttribute("role", "row");
    this.element.dataset.id = kernel.id;
    this.document = make("span", "documents");
    this.kind = make("span", "kind muted");
    this.head = make("th", "", this.document, this.kind);
    this.head.scope = "row";
    this.head.tabIndex = -1;
    this.head.setAttribute("role", "rowheader");
    this.shape = svg("use");
    const picture = svg("svg", { class: "shape", viewBox: "0 0 12 12", "aria-hidden": "true" });
    picture.append(this.shape);
    this.word = make("span", "word");
    this.since = make("span", "since muted");
    this.connections = make("span", "number");
    this.traffic = make("span", "muted");
    this.buttons = ACTIONS.map((action) => {
      const button = make("button", "quiet", action.label);
      button.type = "button";
      button.classList.toggle("ends", action.label === "Shut down");
      button.addEventListener("click", () => this.act(action));
      return button;
    });
    this.element.append(
      this.head,
      this.cell("state", "State", make("span", "state-line", picture, this.word), this.since),
      this.cell("busy", "Busy", this.busy.element),
      this.cell("connections", "Connections", this.connections, this.traffic),
      this.cell("actions", "", ...this.buttons),
    );
  }

  cell(className, label, ...children) {
    const cell = make("td", className, ...children);
    cell.setAttribute("role", "cell");
    if (label) {
      const shown = make("span", "label", label);
      shown.setAttribute("aria-hidden", "true"); // the column says it
      cell.prepend(shown);
    }
    return cell;
  }

  // `of` and `up` are seconds of the proxy's life: of which the news are, and of which the counts of messages are.
  update(kernel, { of, up, now }) {
    this.kernel = kernel;
    const documents = kernel.documents.map((one) => one.path || one.name);
    const kind = kernel.display_name || kernel.name || "Kernel";
    const id = kernel.id.slice(0, 8);
    this.kindText = `${plain(kind)}, kernel ${plain(id)}`;
    this.name = documents.length ? plain(documents[0]) : `${plain(kind)} ${plain(id)}`;
    const key = JSON.stringify([kernel.documents, kind]);
    if (this.key !== key) {
      this.key = key;
      this.sortKey = documents.length ? `0${documents[0]}` : `1${kind}`;
      const shown = kernel.documents.map((one) => {
        const [folder, name] = split(one.path || one.name);
        const line = make("bdi", "document", make("span", "folder", plain(folder)), make("span", "name", plain(name)));
        return one.type === "notebook" ? line : make("span", "", line, " ", make("span", "tag", foreign(one.type)));
      });
      this.document.replaceChildren(...(shown.length ? shown : [make("span", "document none", "No document")]));
      const code = make("code", "", plain(id));
      code.title = plain(kernel.id);
      this.kind.replaceChildren(foreign(kind), " · ", code);
      for (const [index, action] of ACTIONS.entries()) this.buttons[index].setAttribute("aria-label", `${action.label} ${this.name}`);
    }
    if (this.of !== of) this.busy.add(kernel.execution_state === "busy", of); // the same news again say nothing of now
    this.of = of;
    const state = plain(kernel.execution_state);
    this.shape.setAttribute("href", `#shape-${SHAPES.has(state) ? state : "unknown"}`);
    this.element.dataset.state = state;
    this.stateWord = state.charAt(0).toUpperCase() + state.slice(1);
    this.inState = kernel.state_seconds;
    // An idle kernel has been so since it was last active, which is longer than anybody looks.
    if (state === "idle" && kernel.last_activity) this.inState = Math.max(this.inState, (now - Date.parse(kernel.last_activity)) / 1000);
    set(this.connections, String(kernel.connections));
    const total = kernel.messages.to_kernel + kernel.messages.to_front;
    const before = this.counted;
    this.counted = { total, up };
    const grown = before && up > before.up ? (total - before.total) / (up - before.up) : 0;
    set(this.traffic, kernel.channels ? `${rate(Math.max(0, grown))} msg/s` : "");
    this.tick();
  }

  // What changes by itself, from second to second.
  tick(seconds) {
    if (seconds !== undefined) this.busy.draw(seconds);
    const waited = this.pending?.since ? (Date.now() - this.pending.since) / 1000 : 0;
    set(this.word, this.pending ? `${this.pending.action.doing} …` : this.stateWord);
    set(this.since, this.pending ? (this.pending.since === null ? "waits for others" : waited > PATIENCE ? `no answer for ${duration(waited)}` : "") : `for ${duration(this.inState)}`);
    const off = this.pending !== null || this.kernels.off !== null;
    for (const button of this.buttons) {
      // Not `disabled`: that would take the focus away from the person who is there.
      if (off) button.setAttribute("aria-disabled", "true");
      else button.removeAttribute("aria-disabled");
    }
  }

  async act(action) {
    if (this.kernels.off !== null) return this.kernels.say(`${action.label} is off: ${this.kernels.off}.`);
    if (this.pending) return;
    if (action.asks && !(await this.isMeant(action))) return;
    if (this.kernels.off !== null) return this.kernels.say(`${action.label} was not asked for: ${this.kernels.off}.`);
    const { name } = this;
    this.pending = { action, since: null };
    this.tick();
    this.kernels.say(`${action.doing} ${name} …`);
    const done = await this.kernels.turn();
    try {
      this.pending.since = Date.now();
      await this.kernels.request(`api/kernels/${encodeURIComponent(this.kernel.id)}${action.end}`, action.method);
      this.ended = action.method === "DELETE";
      this.kernels.say(`${action.done}: ${name}.`);
    } catch (error) {
      this.kernels.say(`${action.label} did not work for ${name}: ${plain(error.message)}.`, true);
    }
    done();
    this.pending = null;
    this.tick();
    await this.kernels.look();
  }

  async isMeant(action) {
    const others = this.kernel.documents.length - 1;
    this.kernels.asked = this;
    const meant = await confirmed({
      title: `${action.label} the kernel of ${this.kernel.documents.length ? this.name : "no document"}?`,
      which: `${this.kindText}${others > 0 ? `, which ${count(others, "other document has", "other documents have")} too` : ""}. It is ${this.stateWord.toLowerCase()} and has ${count(this.kernel.connections, "connection", "connections")}.`,
      lost: "All its variables are lost.",
      action: action.label,
    });
    this.kernels.asked = null;
    return meant;
  }
}

export class Kernels {
  #rows = new Map(); // by id
  #under = 0; // requests of buttons that are under way
  #waiting = []; // what waits for its turn to send one
  off = null; // why nothing can be done now
  asked = null; // the row that a question is about

  constructor({ body, title, say, request, look }) {
    Object.assign(this, { body, title, say, request, look });
  }

  show(kernels, times) {
    const there = new Set(kernels.map((kernel) => kernel.id));
    const gone = []; // by somebody else's doing
    for (const [id, row] of this.#rows) {
      if (there.has(id)) continue;
      if (!row.ended && !row.pending) gone.push(row.name);
      this.#remove(id, row);
    }
    if (gone.length) this.say(`Gone: ${gone[0]}${gone.length > 1 ? ` and ${count(gone.length - 1, "other kernel", "other kernels")}` : ""}.`);
    for (const kernel of kernels) {
      const known = this.#rows.get(kernel.id);
      const row = known ?? new Row(kernel, this);
      row.update(kernel, times);
      if (!known) {
        this.#rows.set(kernel.id, row);
        const after = [...this.body.children].find((element) => this.#rows.get(element.dataset.id).sortKey > row.sortKey);
        this.body.insertBefore(row.element, after ?? null);
      }
    }
  }

  // A focus in a row that goes is in the next one then, or at the title: not lost at the top of the page.
  #remove(id, row) {
    if (this.asked === row) withdraw();
    const next = row.element.nextElementSibling ?? row.element.previousElementSibling;
    const inside = row.element.contains(document.activeElement);
    row.element.remove();
    this.#rows.delete(id);
    if (inside) (next ? this.#rows.get(next.dataset.id).head : this.title).focus();
  }

  // Waits for its turn, and gives what ends it.
  async turn() {
    if (this.#under >= AT_ONCE) await new Promise((resolve) => this.#waiting.push(resolve));
    else this.#under += 1;
    return () => {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#under -= 1;
    };
  }

  setOff(why) {
    this.off = why;
    setOff(why);
  }

  tick(seconds) {
    for (const row of this.#rows.values()) row.tick(seconds);
  }
}
