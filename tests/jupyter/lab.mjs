// Drives JupyterLab in a real browser: opens a notebook, runs all its cells, and prints as JSON what their outputs show.
// Arguments: the URL of the notebook in the lab, with its token; how many outputs to wait for.
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
  await page.waitForSelector('text=/\\| Idle/');
  await page.click('.jp-Notebook .jp-CodeCell >> nth=0');
  await page.click('text="Run" >> nth=0');
  await page.click('text="Run All Cells"');
  await page.waitForFunction((count) => document.querySelectorAll(".jp-OutputArea-output").length >= count, Number(wanted));
  const image = await page.waitForSelector(".jp-OutputArea-output img.widget-image, .jp-OutputArea-output .widget-image");
  await page.waitForFunction((element) => element.naturalWidth > 0, image);
  const result = await page.evaluate(() => ({
    texts: [...document.querySelectorAll(".jp-OutputArea-output pre")].map((element) => element.textContent.trim()),
    image: (({ naturalWidth, naturalHeight }) => [naturalWidth, naturalHeight])(document.querySelector("img.widget-image")),
  }));
  // From the browser to the kernel: a file that is uploaded travels as a binary buffer.
  const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.click(".widget-upload")]);
  await chooser.setFiles({ name: "blob.bin", mimeType: "application/octet-stream", buffer: Buffer.from([...Array(256).keys()]) });
  await page.waitForFunction(() => [...document.querySelectorAll(".jp-OutputArea-output pre")].some((element) => element.textContent.includes("uploaded")));
  result.uploaded = await page.evaluate(
    () => [...document.querySelectorAll(".jp-OutputArea-output pre")].map((element) => element.textContent.trim()).find((text) => text.includes("uploaded")),
  );
  console.log(JSON.stringify(result));
} finally {
  await browser.close();
}
