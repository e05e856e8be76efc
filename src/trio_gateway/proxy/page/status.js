// The status page: asks the proxy how it is, again and again, and shows it. A row is made once and then changed, so that the
// keyboard's focus stays where it is.
const EVERY = 1000; // milliseconds between two questions
const POINTS = 60; // of a chart
const NS = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);
const histories = new Map(); // by name: what was counted last, and the rates since
const rows = new Map(); // by kernel: its row
let asked = 0;
let answer = null; // takes the answer to the question that stands

// The token that came in the address has become a cookie: it need not stand there.
if (location.search.includes("token=")) {
  history.replaceState(null, "", location.pathname);
}

function say(text) {
  if ($("news").textContent !== text) $("news").textContent = text;
}

function make(tag, text, more = {}) {
  return Object.assign(document.createElement(tag), { textContent: text, ...more });
}

async function request(path, method = "GET") {
  const answer = await fetch(path, { method, cache: "no-store" });
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const said = await answer.json().catch(() => ({}));
  throw new Error(said.message || answer.statusText);
}

// Counts become rates, and the rates a line.
function chart(svg, name, count, now) {
  const past = histories.get(name) ?? { count, at: now, rates: [] };
  histories.set(name, past);
  if (now > past.at) {
    past.rates.push(Math.max(0, ((count - past.count) * 1000) / (now - past.at)));
    past.rates.splice(0, past.rates.length - POINTS);
    past.count = count;
    past.at = now;
  }
  const highest = Math.max(...past.rates, 1);
  const points = past.rates.map((rate, index) => `${index + POINTS - past.rates.length},${30 - (28 * rate) / highest}`);
  const last = Math.round(past.rates.at(-1) ?? 0);
  if (!svg.firstChild) {
    svg.setAttribute("viewBox", `0 0 ${POINTS} 32`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.append(document.createElementNS(NS, "title"), document.createElementNS(NS, "polyline"));
  }
  svg.querySelector("polyline").setAttribute("points", points.join(" "));
  const words = `${last} messages a second, at most ${Math.round(Math.max(...past.rates, 0))} in the last ${past.rates.length} s`;
  svg.querySelector("title").textContent = words;
  svg.setAttribute("aria-label", words);
  svg.dataset.highest = Math.max(...past.rates, 0);
}

function confirmed(question, action) {
  const dialog = $("ask");
  answer?.(false);
  $("question").textContent = question;
  $("yes").textContent = action;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => (answer = resolve));
}

// A browser tells of a closed dialog in a task of its own: the next question may be open by then.
$("ask").addEventListener("close", () => {
  if ($("ask").open) return;
  answer?.($("ask").returnValue === "yes");
  answer = null;
});

async function act(row, path, method, doing, done, question) {
  const name = row.dataset.name;
  if (question && !(await confirmed(question, doing))) return;
  say(`${doing}: ${name} …`);
  try {
    await request(path, method);
    say(`${done}: ${name}.`);
  } catch (error) {
    say(`${doing} did not work: ${error.message}`);
  }
  await look();
}

function makeRow(kernel) {
  const row = document.createElement("tr");
  const path = `api/kernels/${encodeURIComponent(kernel.id)}`;
  row.dataset.id = kernel.id;
  row.dataset.name = `${kernel.name} ${kernel.id.slice(0, 8)}`;
  const name = make("th", `${kernel.name} `, { scope: "row" });
  name.append(make("code", kernel.id.slice(0, 8), { title: kernel.id }));
  const svg = document.createElementNS(NS, "svg");
  svg.setAttribute("class", "chart");
  svg.setAttribute("role", "img");
  const messages = make("td", "");
  messages.append(svg);
  const actions = make("td", "");
  for (const [label, way, method, done, question] of [
    ["Interrupt", `${path}/interrupt`, "POST", "Interrupted", null],
    ["Restart", `${path}/restart`, "POST", "Restarted", "Restart this kernel? All its variables are lost."],
    ["Shut down", path, "DELETE", "Shut down", "Shut down this kernel? All its variables are lost."],
  ]) {
    const button = make("button", label, { type: "button" });
    button.setAttribute("aria-label", `${label} ${row.dataset.name}`);
    button.addEventListener("click", () => act(row, way, method, label, done, question));
    actions.append(button);
  }
  row.append(name, make("td", ""), make("td", ""), messages, actions);
  return row;
}

function showKernels(kernels, now) {
  const there = new Set(kernels.map((kernel) => kernel.id));
  for (const [id, row] of rows) {
    if (!there.has(id)) {
      row.remove();
      rows.delete(id);
      histories.delete(id);
    }
  }
  for (const kernel of kernels) {
    if (!rows.has(kernel.id)) {
      rows.set(kernel.id, makeRow(kernel));
      $("kernels").append(rows.get(kernel.id));
    }
    const row = rows.get(kernel.id);
    row.children[1].textContent = kernel.execution_state;
    row.children[1].className = kernel.execution_state;
    row.children[2].textContent = kernel.channels;
    chart(row.querySelector("svg"), kernel.id, kernel.messages.to_kernel + kernel.messages.to_front, now);
  }
}

function showSessions(sessions) {
  $("sessions").replaceChildren(
    ...sessions.map((session) => {
      const row = document.createElement("tr");
      row.append(make("th", session.path, { scope: "row" }), make("td", session.type), make("td", `${session.kernel.name} `));
      row.lastChild.append(make("code", session.kernel.id.slice(0, 8)));
      return row;
    }),
  );
}

async function look() {
  const turn = ++asked;
  try {
    const found = await request("status.json");
    if (turn !== asked) return; // a later question was answered sooner
    const now = performance.now();
    const well = found.gateway.reachable;
    $("gateway").textContent = well ? "reachable" : found.gateway.message;
    $("gateway").className = well ? "good" : "bad";
    $("kernel-count").textContent = found.kernels.length;
    $("session-count").textContent = found.sessions.length;
    $("channels").textContent = found.channels;
    $("resumed").textContent = found.resumed;
    chart($("to_front"), " to_front", found.messages.to_front, now);
    chart($("to_kernel"), " to_kernel", found.messages.to_kernel, now);
    if (well) {
      showKernels(found.kernels, now);
      showSessions(found.sessions);
    }
    $("no-kernels").hidden = found.kernels.length > 0;
    $("no-sessions").hidden = found.sessions.length > 0;
    if (found.draining) say("The proxy is shutting down.");
    else if ($("news").textContent.startsWith("Asking") || $("news").textContent.startsWith("No answer")) say("Up to date.");
  } catch (error) {
    say(`No answer from the proxy: ${error.message}`);
  }
}

async function keepLooking() {
  if (!document.hidden) await look();
  setTimeout(keepLooking, EVERY);
}

keepLooking();
