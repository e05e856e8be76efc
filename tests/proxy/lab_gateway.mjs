// JupyterLab in a real browser, its kernels reached through the proxy: opens a notebook, runs all, restarts the kernel, runs all
// again, and prints as JSON what the outputs show each time. Arguments: the notebook's URL with its token; how many outputs.
import { chromium } from "playwright-core";

const [url, wanted] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"],
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(90_000);
  await page.goto(url);
  await page.waitForSelector(".jp-Notebook .jp-CodeCell");
  await page.waitForSelector("text=/\\| Idle/");
  const outputs = async () => {
    await page.waitForFunction((count) => document.querySelectorAll(".jp-OutputArea-output").length >= count, Number(wanted));
    await page.waitForSelector("text=/\\| Idle/");
    return page.evaluate(() => ({
      texts: [...document.querySelectorAll(".jp-OutputArea-output pre")].map((element) => element.textContent.trim()),
      images: [...document.querySelectorAll(".jp-OutputArea-output img")].map((image) => [image.naturalWidth, image.naturalHeight]),
    }));
  };
  const result = [];
  await page.click(".jp-Notebook .jp-CodeCell >> nth=0");
  await page.click('text="Run" >> nth=0');
  await page.click('text="Run All Cells"');
  result.push(await outputs());
  await page.click('text="Kernel" >> nth=0');
  await page.click('text="Restart Kernel and Run All Cells…"');
  // Lab clears the outputs when the question is answered.
  await page.click('.jp-Dialog button:has-text("Restart")');
  await page.waitForSelector(".jp-Dialog", { state: "detached" });
  result.push(await outputs());
  console.log(JSON.stringify(result));
} finally {
  await browser.close();
}
