// The page of a running simulation: pictures and numbers as they come, wishes as they are made.
// Text reaches the page as text only.
"use strict";

const $ = id => document.getElementById(id);
let about = null, wish = null, bars = [], most = 1e-9, sliders = [], last = 0;

function node(name, text, attributes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  return made;
}
function trouble(text) {
  $("trouble").hidden = !text;
  $("trouble").textContent = text || "";
}
const number = x => Math.abs(x) >= 1000 ? x.toFixed(0) : Math.abs(x) >= 10 ? x.toFixed(1) : x === 0 || Math.abs(x) >= 0.001 ? x.toFixed(3) : x.toExponential(0);

async function send(changes) {
  Object.assign(wish, changes);
  const answer = await fetch("/api/wish", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(wish) });
  if (!answer.ok) trouble(`the wish was refused: ${await answer.text()}`);
}

// ── Controls ─────────────────────────────────────────────────────────────────────────────────────
function pause(paused) {
  $("play").textContent = paused ? "Go on" : "Pause";
  return send({ paused });
}
function episode(seed) {
  $("seed").value = seed;
  return send({ seed, resets: wish.resets + 1 });
}
function camera() {
  const list = about.cameras;
  $("camera").value = list[(list.indexOf(wish.camera) + 1) % list.length];
  return send({ camera: $("camera").value });
}
function once() {
  return send({ steps: wish.steps + 1 });
}
function byHand() {
  const on = $("hand").checked;
  sliders.forEach(slider => { slider.input.disabled = !on; });
  return send({ action: on ? sliders.map(slider => Number(slider.input.value)) : null });
}

function build() {
  const task = about.task;
  document.title = `embody: ${task.id}`;
  $("name").textContent = task.id;
  $("about").textContent = task.summary;
  $("tasks").textContent = `${about.who} · ${number(task.control_hz)} Hz · at most ${task.max_episode_steps} steps`;
  for (const [title, text] of [["Success", task.success || "not defined: judged by the return"], ["End", task.termination]]) $("facts").append(node("h3", title), node("p", text));
  for (const [title, terms] of [["Randomisation", task.randomization], ["Observations", task.observations]]) {
    const list = node("dl");
    terms.forEach(term => list.append(node("dt", term.name), node("dd", term.meaning)));
    $("facts").append(node("h3", title), list);
  }
  about.cameras.forEach(name => $("camera").append(node("option", name, { value: name })));
  $("camera").value = about.camera;
  $("seed").value = about.seed;
  bars = task.rewards.map(term => {
    const row = node("div", undefined, { class: "term", title: term.meaning });
    const bar = node("i"), value = node("b");
    row.append(node("span", term.name), bar, value);
    $("terms").append(row);
    return { bar, value };
  });
  sliders = task.action.map((dim, i) => {
    const row = node("label", undefined, { class: "term", title: dim.unit });
    const input = node("input", undefined, { type: "range", min: about.low[i], max: about.high[i], step: "any" });
    const value = node("b");
    input.disabled = true;
    input.addEventListener("input", byHand);
    row.append(node("span", dim.name), input, value);
    $("actions").append(row);
    return { input, value };
  });
}

// ── Pictures ─────────────────────────────────────────────────────────────────────────────────────
function show(scene, pixels) {
  trouble(scene.error);
  $("episode").textContent = `Episode of seed ${scene.seed}`;
  $("clock").textContent = `step ${scene.step} · ${(scene.step / about.task.control_hz).toFixed(2)} s · return ${number(scene.total)}`;
  $("verdict").hidden = !scene.success && !scene.ended;
  $("verdict").textContent = scene.success ? "success" : "ended";
  $("verdict").className = scene.success ? "chip good" : "chip bad";
  const canvas = $("stage");
  if (scene.width && pixels.length === scene.width * scene.height * 4) {
    if (canvas.width !== scene.width) canvas.width = scene.width;
    if (canvas.height !== scene.height) canvas.height = scene.height;
    canvas.getContext("2d").putImageData(new ImageData(pixels, scene.width, scene.height), 0, 0);
  }
  // One scale for all terms: bars compare them.
  most = Math.max(most, ...scene.terms.map(Math.abs));
  scene.terms.forEach((value, i) => {
    const row = bars[i];
    if (!row) return;
    row.bar.className = value < 0 ? "loss" : "gain";
    row.bar.style.setProperty("--share", `${100 * Math.abs(value) / most}%`);
    row.value.textContent = number(value);
  });
  scene.action.forEach((value, i) => {
    const row = sliders[i];
    if (!row) return;
    row.value.textContent = number(value);
    if (row.input.disabled) row.input.value = value;
  });
}

async function watch() {
  for (;;) {
    try {
      const answer = await fetch(`/api/scene/${last}`);
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const bytes = await answer.arrayBuffer();
      const length = new DataView(bytes).getUint32(0, true);
      const scene = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
      if (scene.number > last) {
        last = scene.number;
        show(scene, new Uint8ClampedArray(bytes, 4 + length));
      }
    } catch (error) {
      trouble(`the simulation does not answer: ${error.message || error}`);
      await new Promise(resolve => setTimeout(resolve, 1000));
    }
  }
}

async function main() {
  about = await (await fetch("/api/task")).json();
  wish = { paused: false, steps: 0, resets: 0, seed: about.seed, camera: about.camera, speed: 1, action: null };
  build();
  $("play").addEventListener("click", () => pause(!wish.paused));
  $("once").addEventListener("click", once);
  $("again").addEventListener("click", () => episode(wish.seed));
  $("next").addEventListener("click", () => episode(wish.seed + 1));
  $("seed").addEventListener("change", () => episode(Math.max(0, Math.floor(Number($("seed").value)) || 0)));
  $("camera").addEventListener("change", () => send({ camera: $("camera").value }));
  $("speed").addEventListener("change", () => send({ speed: Number($("speed").value) }));
  $("hand").addEventListener("change", byHand);
  document.addEventListener("keydown", event => {
    if (event.target.tagName === "INPUT" && event.target.type !== "range") return;
    const keys = { " ": () => pause(!wish.paused), ArrowRight: once, r: () => episode(wish.seed), n: () => episode(wish.seed + 1), c: camera };
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
  watch();
}
main().catch(error => trouble(error.message || String(error)));
