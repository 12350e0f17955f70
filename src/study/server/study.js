// A participant's session. The server decides what comes next; this page shows it, measures, and sends the answer.
"use strict";

const EXPOSURE = 1000; // milliseconds of each picture
const BEFORE = 900, BETWEEN = 600, AFTER = 100; // without a picture, as in the original study
const SIDE = 256;

const $ = (selector) => document.querySelector(selector);
const places = ["first", "second"].map((name) => $(`#${name}`));
const canvases = places.map((place) => place.querySelector("canvas"));
const buttons = places.map((place) => place.querySelector("button"));
const labels = places.map((place) => place.querySelector(".label"));

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));

function show(id) {
  for (const section of document.querySelectorAll("section")) section.hidden = section.id !== id;
}

// Waits for a click. The button has the focus, so that Enter does too.
function pressed(button) {
  button.hidden = false;
  button.focus();
  return new Promise((resolve) => button.addEventListener("click", resolve, { once: true }));
}

async function message(title, text) {
  $("#message h1").textContent = title;
  $("#message p").textContent = text;
  show("message");
  await pressed($("#message button"));
}

// Repeats a request until the server replies: the network may be away for a while, or the server restarted. What it has
// stored before, it does not store again.
async function request(path, options) {
  for (let wait = 250; ; wait = Math.min(2 * wait, 4000)) {
    try {
      const response = await fetch(path, options);
      if (response.status < 500) {
        $("#notice").textContent = "";
        return response;
      }
    } catch {
      // no connection
    }
    $("#notice").textContent = "Waiting for the connection …";
    await sleep(wait);
  }
}

function post(path, body = {}) {
  const headers = { "Content-Type": "application/json" };
  return request(path, { method: "POST", headers, body: JSON.stringify(body) });
}

// Draws a picture where it cannot be seen. It comes as raw pixels: photographs and fakes are sent and drawn alike.
async function draw(name, canvas) {
  const response = await request(`picture/${name}`);
  if (!response.ok) return false;
  const rgb = new Uint8Array(await response.arrayBuffer());
  const image = new ImageData(SIDE, SIDE);
  for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
    image.data.set(rgb.subarray(from, from + 3), to);
    image.data[to + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return true;
}

function clear() {
  for (const place of places) place.classList.remove("shown");
  for (const canvas of canvases) canvas.getContext("2d").clearRect(0, 0, SIDE, SIDE);
  for (const label of labels) label.textContent = "";
}

async function visible() {
  while (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

// Waits without a picture, and returns the median time between two frames.
async function pause(ms) {
  const begun = await frame(), times = [];
  let now = begun;
  while (now - begun < ms) {
    const last = now;
    now = await frame();
    times.push(now - last);
  }
  return times.sort((a, b) => a - b)[times.length >> 1];
}

// Shows a picture from one frame to that nearest to a second later, and returns the time between them. Timers would be off
// by up to two frames, and a busy page by more: the measured time is sent along and judged later.
async function expose(place, interval) {
  const begun = await frame();
  place.classList.add("shown");
  let now = begun;
  while (now - begun < EXPOSURE - interval / 2) now = await frame();
  place.classList.remove("shown");
  return now - begun;
}

// Shows both pictures; undefined if the page was hidden meanwhile.
async function exposeBoth() {
  let hidden = document.hidden;
  const watch = () => {
    hidden ||= document.hidden;
    if (hidden) clear();
  };
  document.addEventListener("visibilitychange", watch);
  const interval = await pause(BEFORE), exposures = [];
  for (const [index, place] of places.entries()) {
    if (hidden) break;
    exposures.push(await expose(place, interval));
    await pause(index === 0 ? BETWEEN : AFTER);
  }
  document.removeEventListener("visibilitychange", watch);
  return hidden ? undefined : { exposures, frame: interval };
}

// The second picture is right of the first, or below it on a narrow page.
const KEYS = { ArrowLeft: 0, ArrowUp: 0, 1: 0, ArrowRight: 1, ArrowDown: 1, 2: 1 };

// Waits for the answer: a key, or a touch or click on a place.
async function choice() {
  $("#question").textContent = "Which picture had the fake colors?";
  for (const button of buttons) button.hidden = false;
  const begun = performance.now(), abort = new AbortController();
  const index = await new Promise((resolve) => {
    const { signal } = abort;
    const key = (event) => {
      const index = KEYS[event.key];
      if (index === undefined || event.repeat) return;
      event.preventDefault();
      resolve(index);
    };
    document.addEventListener("keydown", key, { signal });
    buttons.forEach((button, index) => button.addEventListener("click", () => resolve(index), { signal }));
  });
  abort.abort();
  for (const button of buttons) button.hidden = true;
  $("#question").textContent = "";
  return { chosen: places[index].id, response: performance.now() - begun };
}

// In practice, both pictures are seen again with their names.
async function feedback(chosen, fake) {
  places.forEach((place, index) => {
    labels[index].textContent = place.id === fake ? "Fake" : "Real";
    place.classList.add("shown");
  });
  $("#question").textContent = chosen === fake ? "Right." : "Wrong: the other one was fake.";
  const button = $("#trial > button");
  await pressed(button);
  button.hidden = true;
  $("#question").textContent = "";
}

async function trial({ trial, practice, number, of, pictures }) {
  $("#count").textContent = `${practice ? "Practice" : "Pair"} ${number} of ${of}`;
  show("trial");
  await visible();
  const drawn = await Promise.all(pictures.map((name, index) => draw(name, canvases[index])));
  const begun = drawn.every(Boolean) && (await post("begin", { trial })).ok;
  if (!begun) return message("This session goes on elsewhere", "It was opened in another window. Continue here?");
  const shown = await exposeBoth();
  if (!shown) {
    await post("void", { trial });
    return message("The page was hidden", "This pair does not count. Please keep the page in view while pictures are shown.");
  }
  const { chosen, response } = await choice();
  const reply = await post("answer", { trial, chosen, response, ...shown });
  const { fake } = reply.ok ? await reply.json() : {};
  if (fake) await feedback(chosen, fake);
}

async function session() {
  for (;;) {
    const reply = await post("next");
    if (!reply.ok) return location.reload();
    const next = await reply.json();
    if (next.state === "done") return end(next.code);
    if (next.dropped) await message("Welcome back", "The pair that was being shown does not count. The next one follows.");
    if (!next.practice && next.number === 1) {
      await message("Now it counts", `${next.of} pairs follow. You will not be told which picture was fake.`);
    }
    await trial(next);
    clear();
  }
}

function end(code) {
  $("#code").hidden = !code;
  $("#code strong").textContent = code ?? "";
  show("end");
}

async function consent() {
  const [box, button] = ["input", "button"].map((tag) => $(`#consent ${tag}`));
  box.addEventListener("change", () => (button.disabled = !box.checked));
  show("consent");
  await pressed(button);
  const reply = await post("session");
  return reply.ok || show("full");
}

async function main() {
  const { visit } = document.body.dataset;
  if (visit === "full") return show("full");
  if (visit === "new" && !(await consent())) return;
  if (visit !== "completed") {
    show("instructions");
    await pressed($("#instructions button"));
  }
  await session();
}

main();
