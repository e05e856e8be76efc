// Looks at the pages of the site, and uses its search; prints JSON. See look_at_site.py.
import { chromium } from "playwright-core";

const { url, pages, words } = JSON.parse(process.argv[2]);
const quiet = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-gpu", ...quiet] });
const seen = { wide: [], found: {} };
const page = await browser.newPage();
for (const width of [1280, 390]) {
  await page.setViewportSize({ width, height: 800 });
  for (const path of pages) {
    await page.goto(`${url}/${path}`, { waitUntil: "load" });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    if (wide > width) seen.wide.push([path, width, wide]);
  }
}
for (const word of words) {
  await page.goto(`${url}/search.html?q=${encodeURIComponent(word)}`);
  await page.waitForFunction(() => /\d|did not match/.test(document.querySelector("#search-results p")?.textContent ?? ""), null, { timeout: 60_000 });
  await page.waitForTimeout(300);
  const links = await page.$$eval("#search-results ul.search > li > a", (all) => all.map((one) => one.getAttribute("href")));
  const paths = links.map((link) => link.split(/[?#]/)[0]);
  seen.found[word] = paths.filter((path, index) => paths.indexOf(path) === index);
}
console.log(JSON.stringify(seen));
await browser.close();
