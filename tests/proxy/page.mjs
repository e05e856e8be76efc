// Uses the proxy's status page in a real browser, by keyboard alone, and prints as JSON what it saw.
// Arguments: the page's URL with its token; the kernel to interrupt and restart; the kernel to talk to and shut down.
import { chromium } from "playwright-core";

const [url, first, second] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"],
});
const seen = { problems: [] };
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(90_000);
  page.on("console", (message) => message.type() === "error" && seen.problems.push(message.text()));
  page.on("pageerror", (error) => seen.problems.push(String(error)));
  await page.goto(url);
  await page.waitForSelector(`tr[data-id="${first}"]`);
  await page.waitForSelector(`tr[data-id="${second}"]`);
  seen.address = page.url();
  seen.gateway = await page.textContent("#gateway");
  seen.sessions = await page.$$eval("#sessions th", (cells) => cells.map((cell) => cell.textContent));
  await page.waitForFunction((id) => document.querySelector(`tr[data-id="${id}"]`).children[1].textContent === "busy", first);

  // What a browser asks of a handshake: the subprotocol that it offered must be selected.
  seen.protocol = await page.evaluate(
    (id) =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(`api/kernels/${id}/channels?session_id=v1`, ["v1.kernel.websocket.jupyter.org"]);
        socket.onopen = () => resolve(socket.protocol);
        socket.onerror = () => reject(new Error("the WebSocket was refused"));
      }),
    second,
  );
  seen.replies = await page.evaluate(
    (id) =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(`api/kernels/${id}/channels?session_id=legacy`);
        let replies = 0;
        socket.onmessage = (event) => {
          replies += JSON.parse(event.data).msg_type === "kernel_info_reply" ? 1 : 0;
          if (replies === 20) resolve(replies);
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
  );
  await page.waitForFunction((id) => document.querySelector(`tr[data-id="${id}"] svg`).dataset.highest > 0, second);
  seen.connections = await page.$eval(`tr[data-id="${second}"]`, (row) => row.children[2].textContent);
  seen.chart = await page.getAttribute(`tr[data-id="${second}"] svg`, "aria-label");

  async function walk(label, id) {
    for (let presses = 0; presses < 30; presses++) {
      await page.keyboard.press("Tab");
      const there = await page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? "");
      if (there === `${label} python3 ${id.slice(0, 8)}`) return;
    }
    throw new Error(`the keyboard does not reach ${label}`);
  }
  const news = (text) => page.waitForFunction((words) => document.getElementById("news").textContent.startsWith(words), text);
  await walk("Interrupt", first);
  await page.keyboard.press("Enter");
  await news("Interrupted: ");
  await page.waitForFunction((id) => document.querySelector(`tr[data-id="${id}"]`).children[1].textContent === "idle", first);
  // The focus stayed where it was, though the table was shown anew.
  seen.focus = await page.evaluate(() => document.activeElement.textContent);
  await walk("Restart", first);
  await page.keyboard.press("Enter");
  seen.asks = await page.textContent("#ask[open] #question");
  await page.keyboard.press("Escape");
  await page.waitForSelector("#ask", { state: "hidden" });
  seen.restartedUnasked = (await page.textContent("#news")).includes("Restart");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#ask[open]");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await news("Restarted: ");
  // Who asks again at once is asked again, though the browser has not yet told that the first question was closed.
  await page.evaluate((id) => {
    const restart = document.querySelector(`tr[data-id="${id}"] button[aria-label^=Restart]`);
    document.getElementById("news").textContent = "";
    restart.click();
    document.getElementById("ask").close();
    restart.click();
  }, first);
  await page.waitForSelector("#ask[open]");
  await page.evaluate(() => new Promise((told) => setTimeout(told, 0))); // "close" is told before
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await news("Restarted: ");
  await walk("Shut down", second);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#ask[open]");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForSelector(`tr[data-id="${second}"]`, { state: "detached" });
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}
