// Uses the proxy's status page in a real browser, and prints as JSON what it found: by name, `true` where it is as it should be.
// Arguments: the page's URL; its token; the port of what makes things happen to the gateway; the kernel to interrupt and restart,
// that is busy; the kernel to talk to and shut down.
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { chromium } from "playwright-core";

const [url, token, controls, first, second] = process.argv.slice(2);
const PATIENCE = Number(process.env.PAGE_PATIENCE ?? 60_000);
const axeSource = await readFile(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const quiet = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", ...quiet],
});
const seen = { problems: [], axe: [] };
const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
page.setDefaultTimeout(PATIENCE);
page.on("pageerror", (error) => seen.problems.push(String(error)));
page.on("dialog", (dialog) => seen.problems.push(`it said ${dialog.message()}`) && dialog.dismiss());
page.on("console", (message) => {
  // That the gateway is away or the token wrong is the test's doing, and a browser says so of each request.
  const meant = /status of (401|502|504)|net::ERR_FAILED/.test(message.text());
  if (message.type() === "error" && !meant) seen.problems.push(message.text());
});

const happen = (what) =>
  new Promise((done, failed) => {
    const socket = connect(Number(controls), "127.0.0.1", () => socket.write(`${what}\n`));
    socket.on("data", () => socket.end(done));
    socket.on("error", failed);
  });

async function check(name, look) {
  let late;
  const limit = new Promise((_, fail) => (late = setTimeout(fail, 2 * PATIENCE, new Error("it came to no end"))));
  try {
    seen[name] = await Promise.race([look(), limit]);
  } catch (error) {
    seen[name] = String(error).split("\n")[0];
  }
  clearTimeout(late);
}

// Text that is in sight, anywhere.
const reads = (words) => page.waitForFunction((text) => new RegExp(text).test(document.body.innerText), words).then(() => true);
const text = (selector) => page.locator(selector).first().innerText();
const rowOf = (id) => page.locator(`tr[data-id="${id}"]`);
const buttons = () => page.locator("tr[data-id] button");
const off = () => page.waitForFunction(() => {
  const all = [...document.querySelectorAll("tr[data-id] button")];
  return all.length > 0 && all.every((button) => button.disabled || button.getAttribute("aria-disabled") === "true");
}).then(() => true);
const on = () => page.waitForFunction(() => !document.querySelector("tr[data-id] [aria-disabled]") && document.querySelector("tr[data-id]")).then(() => true);
const focus = () => page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent ?? "");

// What a reader of the screen, a weak eye or a large thumb would meet: light and dark, on a desk and on a phone.
async function lookAtAll(state) {
  for (const [device, width, height] of [["phone", 390, 844], ["desk", 1280, 800]]) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of ["dark", "light"]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.evaluate(axeSource);
      const { violations } = await page.evaluate(() => axe.run());
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      if (wide) seen.axe.push(`${state}, ${device}: wider than the window`);
      for (const found of violations) seen.axe.push(`${state}, ${device}, ${colorScheme}: ${found.id}: ${found.nodes[0].html.slice(0, 200)}`);
    }
  }
}

async function walk(label) {
  for (let presses = 0; presses < 30; presses++) {
    await page.keyboard.press("Tab");
    if ((await focus()) === label) return true;
  }
  throw new Error(`the keyboard does not reach ${label}`);
}

try {
  // Signing in.
  await check("a browser is asked for the token", async () => {
    const answer = await page.goto(url);
    await lookAtAll("sign in");
    return answer.status() === 401 && (await page.locator("input[type=password]").count()) === 1;
  });
  if (await page.locator("#token").count()) {
    await check("a wrong token is said to be wrong", async () => {
      await page.keyboard.type("wrong"); // the field has the focus
      await page.keyboard.press("Enter");
      return reads("That is not the proxy's token");
    });
    await page.keyboard.type(token);
    await page.keyboard.press("Enter");
  } else {
    await page.goto(`${url}/?token=${token}`);
  }
  await rowOf(first).waitFor();
  await rowOf(second).waitFor();
  await check("no token is left in the address", () => page.url() === `${url}/`);

  // What runs, for which document, how busy, how old the news are.
  await check("a kernel has its document beside it", async () => (await rowOf(first).innerText()).includes("work/first.ipynb"));
  await check("it is busy by word and shape", async () => {
    await page.waitForFunction((id) => /\bbusy\b/i.test(document.querySelector(`tr[data-id="${id}"] .state`).innerText), first);
    return (await rowOf(first).locator("use").first().getAttribute("href")) === "#shape-busy";
  });
  await check("a chart has a number and a scale", async () => /\d+ %[^]*100 %[^]*5 min ago[^]*now/.test(await rowOf(first).innerText()));
  await check("messages have a number and a scale", () => reads("Messages to front ends\\s+\\d[\\d.]*/s\\s+\\d+\\s+0\\s+1 min ago\\s+now"));
  await check("the news have an age", () => reads("News of \\d s ago"));
  await check("the versions are told", async () => /Jupyter server \d/.test(await text("header")) && /trio_gateway \d/.test(await text("header")));
  await check("foreign text is text", async () => {
    const row = page.locator("tr[data-id]", { hasText: "<img src=x onerror=" });
    const literal = (await row.innerText()).includes("<b>Other</b>") && (await row.innerText()).includes("\ufffdgnp.ipynb");
    return literal && (await page.locator("tr[data-id] img, tr[data-id] th b").count()) === 0;
  });
  await check("all buttons of a phone are in sight", async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    const boxes = await buttons().evaluateAll((all) => all.map((button) => button.getBoundingClientRect()).map(({ left, right, height }) => [left, right, height]));
    await page.setViewportSize({ width: 1280, height: 800 });
    return boxes.length === 9 && boxes.every(([left, right, height]) => left >= 0 && right <= 390 && height >= 40);
  });
  await check("nothing moves for who does not want it", async () => {
    await page.emulateMedia({ reducedMotion: "reduce" });
    return (await buttons().first().evaluate((button) => getComputedStyle(button).transitionDuration)) === "0s";
  });
  await lookAtAll("running");

  // What a browser asks of a handshake: the subprotocol that it offered must be selected.
  await check("a WebSocket with the subprotocol", () =>
    page.evaluate(
      (id) =>
        new Promise((resolve, reject) => {
          const socket = new WebSocket(`api/kernels/${id}/channels?session_id=v1`, ["v1.kernel.websocket.jupyter.org"]);
          socket.onopen = () => resolve(socket.protocol === "v1.kernel.websocket.jupyter.org");
          socket.onerror = () => reject(new Error("the WebSocket was refused"));
        }),
      second,
    ),
  );
  await check("a WebSocket without", () =>
    page.evaluate(
      (id) =>
        new Promise((resolve, reject) => {
          const socket = new WebSocket(`api/kernels/${id}/channels?session_id=legacy`);
          let replies = 0;
          socket.onmessage = (event) => {
            replies += JSON.parse(event.data).msg_type === "kernel_info_reply" ? 1 : 0;
            if (replies === 20) resolve(true);
          };
          socket.onerror = () => reject(new Error("the WebSocket was refused"));
          socket.onopen = () => {
            for (let number = 0; number < 20; number++) {
              const header = { msg_id: `m${number}`, msg_type: "kernel_info_request", session: "legacy", username: "", version: "5.4", date: "" };
              socket.send(JSON.stringify({ channel: "shell", header, parent_header: {}, metadata: {}, content: {} }));
            }
          };
        }),
      second,
    ),
  );
  await check("connections and messages are counted", async () => {
    await page.waitForFunction((id) => document.querySelector(`tr[data-id="${id}"] .connections .number`).textContent === "2", second);
    await page.waitForFunction(() => document.querySelector("#to_front .chart").dataset.highest > 0);
    return true;
  });

  // By keyboard alone.
  const told = (words) => page.waitForFunction((said) => document.getElementById("told").textContent.startsWith(said), words).then(() => true);
  await page.evaluate(() => document.activeElement?.blur());
  await check("interrupted", async () => {
    await walk("Interrupt work/first.ipynb");
    await page.keyboard.press("Enter");
    await told("Interrupted: work/first.ipynb");
    await page.waitForFunction((id) => document.querySelector(`tr[data-id="${id}"]`).dataset.state === "idle", first);
    return (await focus()) === "Interrupt work/first.ipynb"; // it stayed where it was, though the table was shown anew
  });
  await check("a question names the kernel and its document", async () => {
    await walk("Restart work/first.ipynb");
    await page.keyboard.press("Enter");
    const asks = await text("dialog[open]");
    return asks.includes("work/first.ipynb") && asks.includes(first.slice(0, 8)) && asks.includes("python3") && asks.includes("variables are lost");
  });
  await lookAtAll("question");
  await check("it begins at Cancel, and what is cancelled is not done", async () => {
    const cancel = (await focus()) === "Cancel";
    await page.keyboard.press("Escape");
    await page.waitForSelector("#ask", { state: "hidden" });
    return cancel && (await focus()) === "Restart work/first.ipynb" && !(await text("#told")).includes("Restart");
  });
  await check("restarted", async () => {
    await page.keyboard.press("Enter");
    await page.waitForSelector("#ask[open]");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    return (await told("Restarted: work/first.ipynb")) && (await focus()) === "Restart work/first.ipynb";
  });
  await check("who asks again at once is asked again", async () => {
    // The browser has not yet told that the first question was closed.
    await page.evaluate((id) => {
      const restart = document.querySelector(`tr[data-id="${id}"] button[aria-label^=Restart]`);
      document.getElementById("told").textContent = "";
      restart.click();
      document.getElementById("ask").close();
      restart.click();
    }, first);
    await page.waitForSelector("#ask[open]");
    await page.evaluate(() => new Promise((done) => setTimeout(done, 0))); // "close" is told before
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    return told("Restarted: work/first.ipynb");
  });
  await check("shut down, and the focus is in the next row", async () => {
    await walk("Shut down work/second.ipynb");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#ask[open]");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await rowOf(second).waitFor({ state: "detached" });
    return page.evaluate(() => document.activeElement.closest("tr[data-id]") !== null);
  });
  await check("a button that is not answered says so", async () => {
    await happen("slow");
    await page.getByRole("button", { name: "Interrupt work/first.ipynb" }).press("Enter");
    await page.waitForFunction((id) => /no answer for [2-9] s/.test(document.querySelector(`tr[data-id="${id}"]`).innerText), first);
    return told("Interrupted: work/first.ipynb");
  });

  // A gateway that hangs. A question stands meanwhile.
  await page.getByRole("button", { name: "Restart work/first.ipynb" }).press("Enter");
  await page.waitForSelector("#ask[open]");
  const restarts = [];
  page.on("request", (request) => request.method() !== "GET" && restarts.push(request.url()));
  await happen("hang");
  await check("a gateway that hangs is said to, and for how long", () => reads("No answer from the gateway for [3-9] s"));
  const busyOf = await text(".seen");
  await check("for longer and longer", () => reads("No answer from the gateway for ([6-9]|\\d\\d) s"));
  await check("a question can't be said yes to meanwhile", async () => {
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    return (await reads("That can't be done now: the gateway does not answer")) && (await page.locator("#ask[open]").count()) === 1;
  });
  await page.keyboard.press("Escape");
  await check("its buttons are off", off);
  await check("the rows are shown as old, with their time", () => reads("What is below is of \\d+:\\d\\d:\\d\\d"));
  await check("the age of the news grows", () => reads("News of ([6-9]|\\d\\d) s ago"));
  await check("old news are not counted as new", async () => /of \d+ s/.test(busyOf) && (await text(".seen")) === busyOf);
  await check("a screen reader is told once", async () => (await page.locator("#changes").textContent()) === "The gateway does not answer. What is shown is old.");
  await check("a button that is off does nothing, and says why", async () => {
    await page.getByRole("button", { name: "Interrupt work/first.ipynb" }).press("Enter");
    return (await told("Interrupt is off: the gateway does not answer.")) && restarts.length === 0;
  });
  await check("its title says so", () => page.waitForFunction(() => document.title.startsWith("No answer from the gateway")).then(() => true));
  await lookAtAll("hangs");

  // One that is away.
  await happen("away");
  await check("a gateway that is away is said to be", () => reads("The gateway can't be reached"));
  await check("its buttons are off, too", off);
  await check("its kernels are not said to be none", async () => {
    const none = /There are none|No kernel is running/.test(await page.evaluate(() => document.body.innerText));
    return !none && (await text("#kernel-count")) === "2" && (await page.locator("tr[data-id]").count()) === 2;
  });
  await check("also for who comes only now", async () => {
    await page.reload();
    await rowOf(first).waitFor();
    return (await off()) && (await reads("What is below is of"));
  });

  // Back again; and then it is the proxy that does not answer.
  await happen("back");
  await check("when it answers again, so do the buttons", async () => (await on()) && (await reads("The gateway answers")));
  await page.route("**/status.json", () => {}); // it hangs
  await check("a proxy that hangs is said to", () => reads("No answer from the proxy for \\d+ s"));
  await check("its buttons are off as well", off);
  await page.unroute("**/status.json");
  await page.reload();
  await on();

  // What else may be old, or not all there is.
  await page.route("**/status.json", async (route) => {
    const response = await route.fetch();
    const found = await response.json();
    found.gateway.lists_all = false;
    Object.assign(found.news.sessions, { age: 40, message: "the record can't be read" });
    await route.fulfill({ response, json: found });
  });
  await check("that documents are old is told", () => reads("Which documents have which kernel is 40 s old: the record can't be read"));
  await check("that there may be others is told", () => reads("there may be others"));
  await page.unrouteAll({ behavior: "wait" }); // an answer may be on its way through it
  await check("who signs out is asked for the token", async () => {
    await page.getByRole("button", { name: "Sign out" }).press("Enter");
    await page.locator("#token").fill(token);
    await page.keyboard.press("Enter");
    return on();
  });

  // Nothing runs; and then the token is another one.
  await happen("empty");
  await check("what others have ended is told", () => told("Gone: "));
  await check("that nothing runs is said only when it is known", async () => (await reads("No kernel is running")) && (await text("#kernel-count")) === "0");
  await lookAtAll("empty");
  await happen("sign_out");
  await check("who is signed out is told", () => reads("You are signed out"));
  await check("and not that there is none now", async () => !(await text("main")).includes("No kernel is running") && (await reads("There were none when")));
  await lookAtAll("signed out");
  await check("and can sign in again", async () => {
    await page.getByRole("link", { name: "Sign in" }).click();
    await page.locator("#token").fill("another");
    await page.keyboard.press("Enter");
    return reads("The gateway answers");
  });
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}
