// A participant in headless Chromium: one session by keys at 1280 pixels with a reload in a trial, one by touch at 390 pixels
// behind a proxy with a path prefix, with the page hidden in a trial; then the researcher's page. The study has 2 + 10 trials.
//
//     node session.mjs URL TOKEN [FOLDER for screenshots, without a check of exposures]
//
// Exit code 3 without playwright-core (npm ci) or Chromium (CHROMIUM names another than /usr/bin/chromium).
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [url, token, screenshots] = process.argv.slice(2);
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const PRACTICE = 2, TRIALS = 10;

const playwright = await import("playwright-core").catch(() => undefined);
if (!playwright || !existsSync(executablePath)) {
  console.error(playwright ? `no ${executablePath}` : "no playwright-core: run `npm ci` in scripts/study_browser");
  process.exit(3);
}
if (screenshots) mkdirSync(screenshots, { recursive: true });

const args = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

// Notes when each picture was seen, by the times of the frames in which its place changed: a witness of the exposures that the
// page measures itself. Runs in the page.
function witness() {
  window.seen = [];
  const isShown = (place) => place.classList.contains("shown") && !document.querySelector("#trial > button:not([hidden])");
  const isDrawn = (canvas) => canvas.getContext("2d").getImageData(128, 128, 1, 1).data[3] === 255;
  const look = () => {
    const now = document.timeline.currentTime;
    document.querySelectorAll(".place").forEach((place, index) => {
      const current = window.seen.find((exposure) => exposure.index === index && !exposure.end);
      if (isShown(place) && !current) {
        const drawn = [...document.querySelectorAll("canvas")].every(isDrawn);
        const loaded = performance.getEntriesByType("resource").filter((entry) => entry.name.includes("/picture/"));
        const last = Math.max(...loaded.map((entry) => entry.responseEnd));
        window.seen.push({ index, begun: now, drawn, loaded: loaded.length % 2 === 0 && last < now });
      } else if (!isShown(place) && current) {
        current.end = now;
      }
    });
  };
  new MutationObserver(look).observe(document, { subtree: true, attributeFilter: ["class"] });
}

async function browse(name, options, use) {
  const profile = mkdtempSync(join(tmpdir(), "study-browser-"));
  const context = await playwright.chromium.launchPersistentContext(profile, { executablePath, args, ...options });
  try {
    const page = context.pages()[0] ?? (await context.newPage());
    const shot = async (part) => screenshots && page.screenshot({ path: join(screenshots, `${name}-${part}.png`), fullPage: true });
    await use(page, shot).catch(async (error) => {
      console.error(`${name}: the page shows: ${await page.innerText("main")}`);
      throw error;
    });
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
}

// Notes errors, requests to elsewhere, and the answers that are sent.
function watch(page, base) {
  const found = { errors: [], elsewhere: [], answers: [] };
  page.on("console", (message) => message.type() === "error" && found.errors.push(message.text()));
  page.on("pageerror", (error) => found.errors.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(base) && !request.url().startsWith("data:")) found.elsewhere.push(request.url());
    if (request.url().endsWith("/answer")) found.answers.push(request.postDataJSON());
  });
  return found;
}

const question = (page) => page.waitForSelector("#question:not(:empty)");
const shown = (page) => page.waitForSelector(".place.shown", { state: "attached" });
const count = (page, text) => page.locator("#count", { hasText: text }).waitFor();
const title = (at) => (at < PRACTICE ? `Practice ${at + 1} of ${PRACTICE}` : `Pair ${at + 1 - PRACTICE} of ${TRIALS}`);

// Exposures by the page and by the witness; sizes by Resource Timing.
async function check(name, page, answers) {
  const { seen, sizes } = await page.evaluate(() => ({
    seen: window.seen,
    sizes: performance
      .getEntriesByType("resource")
      .filter((entry) => entry.name.includes("/picture/"))
      .map((entry) => [entry.transferSize, entry.encodedBodySize, entry.decodedBodySize].join(" ")),
  }));
  assert.equal(new Set(sizes).size, 1, `pictures differ in size: ${[...new Set(sizes)]}`);
  assert.equal(Number(sizes[0].split(" ")[2]), 3 * 256 * 256);
  assert.ok(seen.every((exposure) => exposure.drawn && exposure.loaded), "a picture was shown before both were loaded");
  if (screenshots) return;
  const measured = answers.flatMap((answer) => answer.exposures);
  const frames = answers.map((answer) => answer.frame).sort((a, b) => a - b);
  const frame = frames[frames.length >> 1];
  assert.ok(frame > 2 && frame < 51, `a frame of ${frame} ms`);
  const near = measured.filter((exposure) => Math.abs(exposure - 1000) <= frame + 1);
  const witnessed = seen.filter((exposure) => exposure.end).map((exposure) => exposure.end - exposure.begun);
  const agreeing = witnessed.filter((time) => measured.some((exposure) => Math.abs(exposure - time) < 1));
  console.log(
    `${name}: ${near.length} of ${measured.length} exposures within a frame (${frame.toFixed(1)} ms) of a second, from ` +
      `${Math.min(...measured).toFixed(1)} to ${Math.max(...measured).toFixed(1)} ms; sizes ${sizes[0]} bytes`,
  );
  // The witness begins anew with a reload.
  assert.ok(witnessed.length >= 14 && agreeing.length === witnessed.length, "the page measures other exposures than the witness");
  // A busy machine delays frames, which is measured and marked; on a quiet one, all are in time.
  assert.ok(near.length > measured.length / 2, "most exposures are off by more than a frame");
}

async function byKeys() {
  await browse("wide", { viewport: { width: 1280, height: 900 } }, async (page, shot) => {
    const found = watch(page, url);
    await page.addInitScript(witness);
    await page.goto(url);
    await page.waitForSelector("#consent:not([hidden])");
    await shot("consent");
    for (const key of ["Tab", "Space", "Tab", "Enter"]) await page.keyboard.press(key);
    await page.waitForSelector("#instructions:not([hidden])");
    await shot("instructions");
    await page.keyboard.press("Enter");
    for (let at = 0; at < PRACTICE + TRIALS; at++) {
      if (at === PRACTICE) {
        await page.waitForSelector("#message:not([hidden])");
        assert.equal(await page.textContent("#message h1"), "Now it counts");
        await shot("message");
        await page.keyboard.press("Enter");
      }
      await count(page, title(at));
      if (at === 2) await shown(page).then(() => shot("picture"));
      if (at === 4) {
        await shown(page);
        await page.reload();
        await page.waitForSelector("#instructions:not([hidden])");
        await page.keyboard.press("Enter");
        await page.waitForSelector("#message:not([hidden])");
        assert.equal(await page.textContent("#message h1"), "Welcome back");
        await page.keyboard.press("Enter");
        continue;
      }
      await question(page);
      if (at === 2) await shot("question");
      await page.keyboard.press(["ArrowLeft", "2", "1", "ArrowRight"][at % 4]);
      if (at >= PRACTICE) continue;
      await page.waitForSelector("#trial > button:not([hidden])");
      const labels = await page.locator(".label").allTextContents();
      assert.deepEqual(labels.toSorted(), ["Fake", "Real"]);
      assert.match(await page.textContent("#question"), labels[at % 2] === "Fake" ? /^Right/ : /^Wrong/);
      await shot("feedback");
      await page.keyboard.press("Enter");
    }
    await page.waitForSelector("#end:not([hidden])");
    assert.equal(await page.textContent("#code strong"), "CODE-1");
    await shot("end");
    assert.equal(found.answers.length, PRACTICE + TRIALS - 1);
    const chosen = found.answers.map((answer) => answer.chosen).join(" ");
    assert.equal(chosen, "first second first second second first second first second first second");
    assert.deepEqual([found.errors, found.elsewhere], [[], []]);
    await check("keys", page, found.answers);
    await page.reload();
    await page.waitForSelector("#end:not([hidden])");
  });
}

// What browsers do when a tab is left, which a headless one never is. Runs in the page.
function hide() {
  for (const hidden of [true, false]) {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }
}

async function byTouch(base) {
  await browse("narrow", { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }, async (page, shot) => {
    const found = watch(page, base);
    await page.addInitScript(witness);
    await page.goto(base);
    await shot("consent");
    await page.tap("#consent label");
    await page.tap("#consent button");
    await shot("instructions");
    await page.tap("#instructions button");
    for (let at = 0; at < PRACTICE + TRIALS; at++) {
      if (at === PRACTICE) await page.tap("#message button");
      await count(page, title(at));
      if (at === 2) await shown(page).then(() => shot("picture"));
      if (at === 5) {
        await shown(page);
        await page.evaluate(hide);
        await page.waitForSelector("#message:not([hidden])");
        assert.equal(await page.textContent("#message h1"), "The page was hidden");
        await shot("message");
        await page.tap("#message button");
        continue;
      }
      await question(page);
      if (at === 2) await shot("question");
      const { scrollWidth, innerHeight } = await page.evaluate(() => ({ scrollWidth: document.documentElement.scrollWidth, innerHeight }));
      assert.equal(scrollWidth, 390, "the page scrolls sideways");
      const box = await page.locator("#second button").boundingBox();
      assert.ok(box.y + box.height <= innerHeight, "the second place is below the screen");
      await page.tap(at % 2 ? "#second button" : "#first button");
      if (at >= PRACTICE) continue;
      await page.waitForSelector("#trial > button:not([hidden])");
      await shot("feedback");
      await page.tap("#trial > button");
    }
    await page.waitForSelector("#end:not([hidden])");
    await shot("end");
    assert.equal(found.answers.length, PRACTICE + TRIALS - 1);
    assert.deepEqual([found.errors, found.elsewhere], [[], []]);
    // The hidden pair was not shown for a second.
    await page.evaluate(() => (window.seen = window.seen.filter(({ begun, end }) => end - begun > 500)));
    await check("touch", page, found.answers);
  });
}

async function asResearcher() {
  for (const [name, width] of [["wide", 1280], ["narrow", 390]]) {
    await browse(name, { viewport: { width, height: 844 } }, async (page, shot) => {
      await page.goto(`${url}admin`);
      await page.fill("#token", "wrong");
      await page.keyboard.press("Enter");
      await page.waitForSelector(".wrong");
      await shot("login");
      await page.fill("#token", token);
      await page.keyboard.press("Enter");
      await page.waitForSelector("table");
      assert.equal(page.url(), `${url}admin`);
      const complete = await page.locator("tbody td:nth-of-type(1)").allTextContents();
      assert.deepEqual(complete, ["1 of 40", "1 of 40"]);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
      await shot("progress");
      const [download] = await Promise.all([page.waitForEvent("download"), page.click("main a")]);
      assert.equal(download.suggestedFilename(), "trials.csv");
    });
  }
}

// A reverse proxy that strips a prefix, as a web server in front of the study does.
function proxy(prefix) {
  const server = http.createServer((request, response) => {
    assert.ok(request.url.startsWith(prefix));
    const { method, headers } = request;
    const path = `/${request.url.slice(prefix.length)}`;
    const above = http.request(new URL(path, url), { method, headers }, (reply) => {
      response.writeHead(reply.statusCode, reply.headers);
      reply.pipe(response);
    });
    request.pipe(above);
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

await byKeys();
const server = await proxy("/lab/colors/");
await byTouch(`http://127.0.0.1:${server.address().port}/lab/colors/`);
server.closeAllConnections();
server.close();
await asResearcher();
