// Draws, and photographs pages, in Chromium: see pictures.py. Arguments: what, and what that needs.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [what, ...given] = process.argv.slice(2);
const quiet = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", ...quiet],
});
const page = await browser.newPage({ viewport: { width: 1000, height: 520 }, deviceScaleFactor: 1.5 });

if (what === "drawings") {
  await page.setContent("<!doctype html><body></body>");
  await page.addScriptTag({ path: "node_modules/mermaid/dist/mermaid.min.js" });
  for (const [name, text] of Object.entries(JSON.parse(await readFile("drawings.json", "utf8")))) {
    const svg = await page.evaluate(async ([id, drawing]) => {
      mermaid.initialize({
        startOnLoad: false, theme: "neutral", deterministicIds: true, htmlLabels: false,
        flowchart: { htmlLabels: false, useMaxWidth: false, wrappingWidth: 600, nodeSpacing: 20, rankSpacing: 25 }, state: { useMaxWidth: false }, fontFamily: "sans-serif",
      });
      return (await mermaid.render(id, drawing)).svg;
    }, [`d${name.replace(".svg", "")}`, text]);
    await writeFile(join(given[0], name), `${svg}\n`);
  }
} else if (what === "status") {
  const [url, token, path] = given;
  await page.goto(`${url.replace(/\/$/, "")}/?token=${token}`);
  await page.getByText("report.ipynb").first().waitFor();
  await page.waitForTimeout(1500);
  await page.screenshot({ path });
} else {
  const [url, path] = given;
  await page.goto(url, { waitUntil: "domcontentloaded" });
  await page.waitForTimeout(1500);
  await page.screenshot({ path });
}
await browser.close();
