// The status page: asks the proxy how it is, again and again, and shows it, with how old it is. What is old is shown as old, and
// nothing can be done by it.
import { RateChart } from "./chart.js";
import { Kernels } from "./kernels.js";
import { clock, count, duration, plain } from "./words.js";

const EVERY = 1000; // milliseconds between two questions
const OUTSTANDING = 2; // questions at a time: while one waits for the gateway, the other says for how long
const GIVE_UP = 15_000; // milliseconds after which a question is not waited for any more
const OLD = 4; // seconds after which news are old
const $ = (id) => document.getElementById(id);

let asking = 0;
let shown = null; // the last answer of the proxy's
let heard = null; // when it came, in milliseconds
const opened = Date.now();
let proxyFailure = null; // why the last question had no answer
let signedOut = false;
let kindsShown = ""; // how many kernels are in which state
let how = "asking"; // what was last told of the gateway

// The token that came in the address has become a cookie: it need not stand there.
if (location.search.includes("token=")) history.replaceState(null, "", location.pathname);

const charts = { to_front: new RateChart("To front ends"), to_kernel: new RateChart("To kernels") };
for (const [id, chart] of Object.entries(charts)) $(id).append(chart.element);

function set(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function say(text, bad = false) {
  set("told", `${text} (${clock(Date.now())})`);
  $("told").classList.toggle("bad", bad);
}

async function request(path, method = "GET", signal = undefined) {
  const answer = await fetch(path, { method, cache: "no-store", signal });
  signedOut = answer.status === 401;
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const said = await answer.json().catch(() => ({}));
  throw new Error(said.message || answer.statusText || `status ${answer.status}`);
}

$("sign-out").addEventListener("click", async () => {
  try {
    await request("./", "DELETE");
    location.reload();
  } catch (error) {
    say(`Signing out did not work: ${plain(error.message)}.`, true);
  }
});

const kernels = new Kernels({ body: $("kernels"), title: $("kernels-title"), say, request, look });

// How old, in seconds, something is that was so old when the last answer came.
const grown = (age) => age + (Date.now() - heard) / 1000;

// What is wrong, and since when: the proxy or the gateway; null where nothing is.
function trouble() {
  if (signedOut) return { unheard: true, what: "You are signed out", why: "you are signed out" };
  const silent = (Date.now() - (heard ?? opened)) / 1000;
  if (proxyFailure !== null || silent > OLD) {
    return { unheard: true, what: `No answer from the proxy for ${duration(silent)}`, why: "the proxy does not answer", more: proxyFailure };
  }
  if (shown === null) return { asking: true, what: "Asking …", why: "the gateway was not heard yet" };
  if (shown.draining) return { what: "The proxy is shutting down", why: "the proxy is shutting down" };
  const { age, unanswered, message } = shown.news.kernels;
  if (message === null && age === null) return { asking: true, what: "Asking …", why: "the gateway was not heard yet" };
  if (message !== null || grown(age) > OLD) {
    return { what: `No answer from the gateway for ${duration(grown(unanswered ?? age))}`, why: "the gateway does not answer", more: message };
  }
  return null;
}

// What changes by itself, from second to second; and what is off while the news are old.
function tick() {
  const wrong = trouble();
  const known = shown?.news.kernels.age ?? null;
  const since = known === null ? null : Date.now() - grown(known) * 1000;
  const state = wrong === null ? "well" : wrong.asking ? "asking" : "ill";
  $("gateway-box").dataset.state = state;
  $("gateway-shape").setAttribute("href", { well: "#shape-well", asking: "#shape-unknown", ill: "#shape-ill" }[state]);
  set("gateway", wrong === null ? "The gateway answers" : wrong.what);
  set("age", known === null ? "No news yet" : `News of ${duration(grown(known))} ago`);
  document.body.classList.toggle("old", wrong !== null);
  document.body.classList.toggle("unheard", wrong !== null && wrong.unheard === true); // what the proxy itself counts is old, too
  if (known === null) set("no-kernels", wrong?.asking ? "Asking the gateway …" : "It is not known which kernels there are.");
  else set("no-kernels", wrong === null ? "No kernel is running." : "There were none when the gateway last answered.");
  $("sign-out").hidden = signedOut || !shown?.proxy.asks_token;
  $("banner").hidden = state !== "ill";
  if (state === "ill") showBanner(wrong, since);
  kernels.setOff(wrong === null ? null : wrong.why);
  if (shown !== null) {
    const seconds = grown(shown.proxy.up);
    kernels.tick(seconds);
    for (const chart of Object.values(charts)) chart.draw(seconds);
  }
  // A screen reader speaks when it changes, and not from second to second.
  const now = wrong === null ? "well" : wrong.why;
  if (how !== now && !wrong?.asking) {
    if (wrong !== null) set("changes", `${sentence(wrong.why)}. What is shown is old.`);
    else if (how !== "asking") set("changes", "The gateway answers again.");
    how = now;
  }
  document.title = document.hidden ? "Kernels" : title(wrong);
}

function title(wrong) {
  if (wrong?.asking) return "Kernels";
  if (wrong) return `${wrong.what.replace(/ for .*/, "")} · Kernels`;
  const busy = shown.kernels.filter((kernel) => kernel.execution_state === "busy").length;
  return busy ? `${busy} busy · Kernels` : "Kernels";
}

function showBanner(wrong, since) {
  const parts = [];
  if (signedOut) {
    if (!$("sign-in")) {
      const link = Object.assign(document.createElement("a"), { href: "./", id: "sign-in", textContent: "Sign in" });
      $("banner").replaceChildren("", link, " to see how it is now. ", document.createElement("span"));
    }
    const words = since === null ? "" : `What is below is of ${clock(since)}.`;
    if ($("banner").lastChild.textContent !== words) $("banner").lastChild.textContent = words;
    return;
  }
  if (wrong.more) parts.push(`${sentence(wrong.more)}.`);
  parts.push(since === null ? "Nothing is known of its kernels yet." : `What is below is of ${clock(since)}, and may have changed. The buttons are off until there are news.`);
  set("banner", parts.join(" "));
}

function sentence(text) {
  const words = plain(text).replace(/\.$/, "");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function show(found) {
  if (shown !== null && shown.proxy.started === found.proxy.started && found.proxy.up < shown.proxy.up) return; // a later question was answered sooner
  shown = found;
  heard = Date.now();
  set("proxy", `Through the proxy ${location.host}, trio_gateway ${plain(found.proxy.version)}`);
  const { version, gateway_version: own, lists_all: all } = found.gateway;
  set("version", [own && `Enterprise Gateway ${plain(own)}`, version && `Jupyter server ${plain(version)}`].filter(Boolean).join(", "));
  charts.to_front.add(found.messages.to_front, found.proxy.up);
  charts.to_kernel.add(found.messages.to_kernel, found.proxy.up);
  set("channels", String(found.channels));
  set("resumed", found.resumed ? `${found.resumed} resumed` : "through this proxy");
  const old = found.news.sessions;
  $("documents-old").hidden = old.message === null || found.news.kernels.message !== null;
  if (!$("documents-old").hidden) set("documents-old", `Which documents have which kernel is ${old.age === null ? "not known" : `${duration(old.age)} old`}: ${plain(old.message)}.`);
  const never = found.news.kernels.age === null;
  if (!never) showKernels(found);
  const none = found.kernels.length === 0;
  $("table").hidden = none;
  $("no-kernels").hidden = !none;
  $("not-all").hidden = all !== false;
}

function showKernels(found) {
  const states = new Map();
  for (const kernel of found.kernels) states.set(kernel.execution_state, (states.get(kernel.execution_state) ?? 0) + 1);
  set("kernel-count", String(found.kernels.length));
  const words = [...states].sort().map(([state, number]) => `${number} ${plain(state)}`);
  if (JSON.stringify(words) !== kindsShown) {
    kindsShown = JSON.stringify(words);
    $("kernel-states").replaceChildren(...words.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
  }
  const without = found.kernels.filter((kernel) => kernel.documents.length === 0).length;
  set("document-count", String(found.sessions.length));
  set("document-more", without ? `${count(without, "kernel", "kernels")} without` : "");
  // Seconds of the proxy's life, and milliseconds of its clock, of which the news are.
  const of = found.news.kernels.at;
  kernels.show(found.kernels, { of, up: found.proxy.up, now: Date.parse(found.proxy.started) + of * 1000 });
}

async function look() {
  if (asking >= OUTSTANDING) return;
  asking += 1;
  try {
    const found = await request("status.json", "GET", AbortSignal.timeout(GIVE_UP));
    proxyFailure = null;
    show(found);
  } catch (error) {
    proxyFailure = error.name === "TypeError" ? "It can't be reached" : error.name === "TimeoutError" ? "It does not answer" : error.message;
  }
  asking -= 1;
  tick();
}

function keepLooking() {
  tick();
  if (!document.hidden) void look();
  setTimeout(keepLooking, EVERY);
}

document.addEventListener("visibilitychange", () => {
  tick();
  if (!document.hidden) void look();
});

keepLooking();
