// The page of the episode viewer. The clock is the first camera that plays, or the wall clock where
// there is none; other cameras follow it. Text reaches the page as text only.
"use strict";

const $ = id => document.getElementById(id);
const PLOT_HEIGHT = 92;
let dataset = null, index = 0, data = null, plots = [], hidden = new Set(), frame = 0, playing = false;
let loading = 0, wall = null;

async function fetched(path) {
  const response = await fetch(path);
  const body = await response.json().catch(() => ({ error: `${path}: status ${response.status}` }));
  if (!response.ok) throw new Error([body.error, ...(body.causes || []), body.hint && `hint: ${body.hint}`].filter(Boolean).join("\n"));
  return body;
}
function trouble(error) {
  $("trouble").hidden = !error;
  $("trouble").textContent = error ? error.message || String(error) : "";
}
function node(name, text, attributes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  return made;
}
const seconds = f => f / dataset.fps;
const videos = () => [...document.querySelectorAll("video")];
const stills = () => [...document.querySelectorAll("#cameras img")];

// ── Episodes ─────────────────────────────────────────────────────────────────────────────────────
function matches(entry, i, words) {
  const says = [String(i), entry.split || "", entry.success === true ? "success" : entry.success === false ? "failure" : "", ...entry.tasks].join(" ").toLowerCase();
  return words.every(word => says.includes(word));
}
// Numbers of the episodes as they are listed: what failed is what one came to look at.
function order() {
  const all = dataset.episodes.map((_, i) => i);
  if ($("order").value !== "failures") return all;
  const failed = i => dataset.episodes[i].success === false;
  return [...all.filter(failed), ...all.filter(i => !failed(i))];
}
function beside(step) {
  const all = order();
  const next = all[all.indexOf(index) + step];
  if (next !== undefined) choose(next);
}
function list() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const longest = Math.max(1, ...dataset.episodes.map(e => e.length));
  const rows = document.createDocumentFragment();
  order().forEach(i => {
    const entry = dataset.episodes[i];
    if (!matches(entry, i, words)) return;
    const row = node("li", undefined, { "data-index": i, "aria-current": i === index });
    row.append(node("span", `Episode ${i}`));
    if (entry.success !== null) row.append(node("span", entry.success ? "success" : "failure", { class: `chip ${entry.success ? "good" : "bad"}` }));
    row.append(node("small", [`${entry.length} frames`, entry.split, entry.tasks.join("; ")].filter(Boolean).join(" · ")));
    const bar = node("i");
    bar.style.width = `${100 * entry.length / longest}%`;
    row.append(bar);
    rows.append(row);
  });
  $("episodes").replaceChildren(rows);
}
async function choose(next) {
  if (!(next >= 0 && next < dataset.episodes.length)) return;
  pause();
  index = next;
  const mine = ++loading;
  list();
  const current = document.querySelector("#episodes li[aria-current=true]");
  if (current) current.scrollIntoView({ block: "nearest" });
  history.replaceState(null, "", `#episode=${index}`);
  const entry = dataset.episodes[index];
  $("episode").textContent = `Episode ${index}`;
  $("rrd").href = `/api/episodes/${index}/recording.rrd`;
  $("tasks").textContent = [entry.tasks.join("; "), `${entry.length} frames, ${seconds(entry.length).toFixed(1)} s`].filter(Boolean).join(" · ");
  cameras();
  try {
    const read = await fetched(`/api/episodes/${index}`);
    if (mine !== loading) return;
    data = read;
    trouble(null);
  } catch (error) {
    if (mine !== loading) return;
    data = { length: entry.length, series: [], events: [] };
    trouble(error);
  }
  $("seek").max = Math.max(0, data.length - 1);
  marks();
  chooser();
  layout();
  go(0);
}
function cameras() {
  const figures = dataset.cameras.map(camera => {
    const figure = node("figure"), caption = node("figcaption", `${camera.key} · ${camera.width} × ${camera.height}`);
    if (camera.still) {
      const image = node("img", undefined, { alt: camera.key, width: camera.width, height: camera.height });
      image.style.aspectRatio = `${camera.width} / ${camera.height}`;
      image.still = { key: camera.key, busy: false, shown: -1 };
      image.addEventListener("load", () => { image.still.busy = false; still(image); });
      image.addEventListener("error", () => { fetch(image.src).then(async r => { if (!r.ok) trouble(new Error((await r.json()).error)); }).catch(trouble); });
      figure.append(image, caption);
      return figure;
    }
    const video = node("video", undefined, { muted: "", playsinline: "", preload: "auto", src: `/api/episodes/${index}/video/${encodeURIComponent(camera.key)}` });
    video.muted = true;
    video.style.aspectRatio = `${camera.width} / ${camera.height}`;
    video.addEventListener("error", () => {
      fetch(video.src).then(async r => r.ok
        ? trouble(new Error(`This browser can't play ${camera.key} (${camera.codec || "unknown codec"}).`))
        : trouble(new Error((await r.json()).error))).catch(trouble);
    });
    figure.append(video, caption);
    return figure;
  });
  $("cameras").replaceChildren(...figures);
}

// One picture is asked for at a time; when it is there, the frame of that moment is next.
function still(image) {
  const { key, busy, shown } = image.still;
  if (busy || shown === frame) return;
  image.still.busy = true;
  image.still.shown = frame;
  image.src = `/api/episodes/${index}/picture/${encodeURIComponent(key)}/${frame}`;
}

// ── Time ─────────────────────────────────────────────────────────────────────────────────────────
function show(next) {
  frame = Math.max(0, Math.min(data.length - 1, next));
  $("seek").value = frame;
  $("clock").textContent = `${seconds(frame).toFixed(2)} s · frame ${frame} of ${data.length}`;
  plots.forEach(cursor);
  stills().forEach(still);
}
function go(next) {
  show(next);
  wall = { at: performance.now(), frame };
  // The middle of the frame, so that rounding shows neither neighbour.
  for (const video of videos()) video.currentTime = seconds(frame + 0.5);
}
function play() {
  if (!data || data.length < 2) return;
  if (frame >= data.length - 1) go(0);
  playing = true;
  $("play").textContent = "Pause";
  wall = { at: performance.now(), frame };
  for (const video of videos()) { video.playbackRate = Number($("speed").value); video.play().catch(() => {}); }
  requestAnimationFrame(tick);
}
function pause() {
  playing = false;
  $("play").textContent = "Play";
  videos().forEach(video => video.pause());
}
function tick(now) {
  if (!playing) return;
  const master = videos().find(video => video.readyState >= 2 && !video.error);
  const at = master ? Math.floor(master.currentTime * dataset.fps) : Math.floor(wall.frame + (now - wall.at) / 1000 * dataset.fps * Number($("speed").value));
  if (master) for (const other of videos()) {
    if (other !== master && Math.abs(other.currentTime - master.currentTime) > 2 / dataset.fps) other.currentTime = master.currentTime;
  }
  show(at);
  if (at >= data.length - 1 || (master && master.ended)) { pause(); go(data.length - 1); return; }
  requestAnimationFrame(tick);
}
function marks() {
  $("marks").replaceChildren(...data.events.map(event => {
    const mark = node("b", undefined, { title: `${event.what}, frame ${event.frame}` });
    mark.style.left = `${100 * event.frame / Math.max(1, data.length - 1)}%`;
    return mark;
  }));
}

// ── Plots ────────────────────────────────────────────────────────────────────────────────────────
// Dimensions of equal name share a plot: state under action.
const features = () => [...new Set(data.series.map(s => s.feature))];
const rank = key => key === "action" ? 0 : key === "observation.state" ? 1 : 2;
function colour(key) {
  const style = getComputedStyle(document.documentElement);
  return style.getPropertyValue(rank(key) === 0 ? "--accent" : rank(key) === 1 ? "--faint" : "--other").trim();
}
function chooser() {
  const many = features();
  $("chooser").replaceChildren(...(many.length < 2 ? [] : many).map(key => {
    const button = node("button", undefined, { type: "button", "aria-pressed": !hidden.has(key) });
    const swatch = node("span");
    swatch.style.borderColor = colour(key);
    button.append(swatch, key);
    button.addEventListener("click", () => { hidden.has(key) ? hidden.delete(key) : hidden.add(key); chooser(); layout(); plots.forEach(cursor); });
    return button;
  }));
}
function layout() {
  const groups = new Map();
  for (const series of data.series) {
    if (hidden.has(series.feature)) continue;
    const known = groups.get(series.name) || [];
    groups.set(series.name, [...known, series].sort((a, b) => rank(b.feature) - rank(a.feature)));
  }
  plots = [...groups].map(([name, series]) => {
    const box = node("div", undefined, { class: "plot" });
    const head = node("h3"), value = node("span");
    head.append(node("span", name, { title: series.map(s => s.feature).join(", ") }), value);
    const canvas = node("canvas", undefined, { role: "img", "aria-label": name });
    box.append(head, canvas);
    const plot = { series, canvas, value, base: null };
    canvas.addEventListener("pointerdown", event => { pause(); canvas.setPointerCapture(event.pointerId); go(under(plot, event)); });
    canvas.addEventListener("pointermove", event => { if (event.buttons) go(under(plot, event)); });
    return Object.assign(plot, { box });
  });
  $("plots").replaceChildren(...plots.map(p => p.box));
  plots.forEach(draw);
}
const under = (plot, event) => Math.round((event.offsetX / plot.canvas.clientWidth) * (data.length - 1));
function draw(plot) {
  const scale = window.devicePixelRatio || 1, width = plot.canvas.clientWidth, height = PLOT_HEIGHT;
  plot.canvas.width = width * scale;
  plot.canvas.height = height * scale;
  const g = plot.canvas.getContext("2d");
  g.scale(scale, scale);
  const all = plot.series.flatMap(s => s.values).filter(v => v !== null);
  let low = Infinity, high = -Infinity;
  for (const v of all) { if (v < low) low = v; if (v > high) high = v; }
  if (!(high > low)) { const middle = Number.isFinite(low) ? low : 0; low = middle - 0.5; high = middle + 0.5; }
  const style = getComputedStyle(document.documentElement);
  g.strokeStyle = style.getPropertyValue("--line");
  g.beginPath();
  for (const y of [6.5, height - 5.5]) { g.moveTo(0, y); g.lineTo(width, y); }
  g.stroke();
  const x = i => i / Math.max(1, data.length - 1) * width, y = v => 6 + (high - v) / (high - low) * (height - 12);
  for (const series of plot.series) {
    g.strokeStyle = colour(series.feature);
    g.lineWidth = rank(series.feature) === 0 ? 1.5 : 1.25;
    g.beginPath();
    let pen = false;
    series.values.forEach((v, i) => { if (v === null) { pen = false; return; } pen ? g.lineTo(x(i), y(v)) : g.moveTo(x(i), y(v)); pen = true; });
    g.stroke();
  }
  g.fillStyle = style.getPropertyValue("--faint");
  g.font = "10px system-ui,sans-serif";
  const digits = high - low < 0.1 ? 3 : high - low < 10 ? 2 : 0;
  g.fillText(high.toFixed(digits), 2, 16);
  g.fillText(low.toFixed(digits), 2, height - 9);
  plot.base = g.getImageData(0, 0, plot.canvas.width, plot.canvas.height);
}
function cursor(plot) {
  if (!plot.base) return;
  const g = plot.canvas.getContext("2d");
  g.putImageData(plot.base, 0, 0);
  const x = Math.round(frame / Math.max(1, data.length - 1) * (plot.canvas.clientWidth - 1));
  g.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--ink");
  g.fillRect(x, 0, 1, PLOT_HEIGHT);
  plot.value.textContent = plot.series.slice().reverse().map(s => s.values[frame] === null || s.values[frame] === undefined ? "–" : s.values[frame].toFixed(3)).join(" / ");
}

// ── Hands ────────────────────────────────────────────────────────────────────────────────────────
$("episodes").addEventListener("click", event => { const row = event.target.closest("li"); if (row) choose(Number(row.dataset.index)); });
$("filter").addEventListener("input", list);
$("order").addEventListener("change", list);
$("play").addEventListener("click", () => playing ? pause() : play());
$("back").addEventListener("click", () => { pause(); go(frame - 1); });
$("ahead").addEventListener("click", () => { pause(); go(frame + 1); });
$("seek").addEventListener("input", () => { pause(); go(Number($("seek").value)); });
$("speed").addEventListener("change", () => { wall = { at: performance.now(), frame }; videos().forEach(v => v.playbackRate = Number($("speed").value)); });
document.addEventListener("keydown", event => {
  if (event.target.id === "filter" && event.key === "Escape") event.target.blur();
  if (!data || event.target.id === "filter" || event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = event.shiftKey ? Math.round(dataset.fps) : 1;
  const does = {
    " ": () => playing ? pause() : play(),
    ArrowLeft: () => { pause(); go(frame - step); },
    ArrowRight: () => { pause(); go(frame + step); },
    ArrowUp: () => beside(-1),
    ArrowDown: () => beside(1),
    "/": () => $("filter").focus(),
  }[event.key];
  if (does) { event.preventDefault(); does(); }
});
let resized = 0;
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(() => { plots.forEach(draw); plots.forEach(cursor); }, 100); });
matchMedia("(prefers-color-scheme:dark)").addEventListener("change", () => { if (data) { chooser(); layout(); show(frame); } });
addEventListener("hashchange", () => { const wanted = /episode=(\d+)/.exec(location.hash); if (wanted && Number(wanted[1]) !== index) choose(Number(wanted[1])); });

fetched("/api/dataset").then(read => {
  dataset = read;
  document.title = `${read.name}: episodes`;
  $("name").textContent = read.name;
  $("about").textContent = [read.robot, `${read.episodes.length} episodes`, `${read.frames} frames at ${read.fps} Hz`].filter(Boolean).join(" · ");
  const outcomes = new Set(read.episodes.map(e => e.success));
  $("order").hidden = !(outcomes.has(true) && outcomes.has(false));
  const wanted = /episode=(\d+)/.exec(location.hash);
  return choose(wanted ? Math.min(Number(wanted[1]), read.episodes.length - 1) : order()[0]);
}).catch(trouble);
