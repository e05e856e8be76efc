// Opens a notebook in JupyterLab in a real browser, runs nothing, and prints as JSON what its widgets show.
// Arguments: the URL of the notebook in the lab, with its token; how many widgets to wait for.
import { chromium } from "playwright-core";

const [url, wanted] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"],
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(240_000); // the machine may be busy
  await page.goto(url);
  await page.waitForSelector(".jp-Notebook .jp-CodeCell");
  const shown = ".jp-OutputArea-output .jupyter-widgets";
  await page.waitForFunction(([selector, count]) => document.querySelectorAll(selector).length >= count, [shown, Number(wanted)]);
  await page.waitForFunction(() => [...document.querySelectorAll("img.widget-image")].every((element) => element.naturalWidth > 0));
  const result = await page.evaluate(() => {
    const texts = (selector) => [...document.querySelectorAll(`.jp-OutputArea-output ${selector}`)].map((element) => element.textContent.trim());
    return {
      sliders: texts(".widget-slider .widget-readout"),
      labels: texts(".widget-slider .widget-label"),
      bars: [...document.querySelectorAll(".jp-OutputArea-output .widget-hprogress .progress-bar")].map((element) => element.style.width),
      captured: texts(".widget-output, .jupyter-widgets.jp-OutputArea"),
      html: texts(".widget-html-content"),
      images: [...document.querySelectorAll("img.widget-image")].map(({ naturalWidth, naturalHeight }) => [naturalWidth, naturalHeight]),
    };
  });
  console.log(JSON.stringify(result));
} finally {
  await browser.close();
}
