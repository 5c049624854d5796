"use strict";
// Plays the episodes of the page's record: films beside curves, and an agent's plans over both.
(() => {
  const place = document.getElementById("viewer");
  if (!place) return;
  const record = JSON.parse(document.getElementById("record").textContent);
  const COLOURS = ["#d9601a", "#7a3fc0", "#0c8f8f", "#b8860b", "#c2185b", "#456"];
  const top = record.levels;
  let episode, step = 0, playing = false, last = 0, videos = [], outputs = [], shownPlan;

  const add = (parent, tag, settings = {}) => parent.appendChild(Object.assign(document.createElement(tag), settings));
  const drawing = (parent, box) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", box);
    svg.setAttribute("preserveAspectRatio", "none");
    return parent.appendChild(svg);
  };
  const line = (points, colour, width, more = "") =>
    `<polyline points="${points}" fill="none" stroke="${colour}" stroke-width="${width}" ` +
    `vector-effect="non-scaling-stroke" ${more}/>`;
  const number = (value) => Number(value.toPrecision(4)).toString();

  // ---- what stays while episodes change
  const controls = add(place, "div", { className: "controls" });
  const select = add(controls, "select", { ariaLabel: "episode" });
  record.episodes.forEach((one, k) => {
    const steps = one.length ? `, ${one.length} steps` : "";
    add(select, "option", { value: k, textContent: one.name + steps + (one.plans.some(forked) ? ", several modes" : "") });
  });
  const play = add(controls, "button", { textContent: "Play", type: "button" });
  const slider = add(controls, "input", { type: "range", min: 0, step: 1, value: 0, ariaLabel: "step" });
  const clock = add(controls, "span");
  const note = add(place, "p", { className: "note" });
  const plans = add(place, "div", { className: "plans" });
  const player = add(place, "div", { className: "player" });
  const pictures = add(player, "div", { className: "pictures" });
  const strips = add(player, "div", { className: "strips" });

  function forked(plan) { return plan.modes.some((mode) => mode > 0); }

  // A film alone has a clock of its own; curves have steps.
  const seconds = () => (videos[0] && videos[0].duration) || 0;
  const lastStep = () => (record.fps ? episode.length - 1 : 1000);
  const secondOf = (at) => (record.fps ? (at + 0.5) / record.fps : (at / 1000) * seconds());

  // ---- one episode
  let plane, planLayers, nCurves;
  function open(index) {
    episode = record.episodes[index];
    pictures.replaceChildren();
    strips.replaceChildren();
    plans.replaceChildren();
    videos = []; outputs = []; planLayers = []; plane = null; shownPlan = undefined;
    note.textContent = episode.note;
    episode.films.forEach((film, k) => addFilm(film, k === 0));
    if (record.plane && !plane) plane = addPlane(pictures);
    nCurves = 0;
    record.keys.forEach(addKey);
    for (const plan of episode.plans)
      add(plans, "button", {
        type: "button", className: forked(plan) ? "forked" : "", title: plan.note,
        textContent: `plans at ${plan.step}`, onclick: () => { pause(); go(plan.step); },
      });
    slider.max = lastStep();
    go(0);
  }

  function addFilm(film, first) {
    const figure = add(pictures, "figure");
    const onTable = first && record.plane && record.planeOnFilm;
    const screen = add(figure, "div", { className: onTable ? "screen square" : "screen" });
    const video = add(screen, "video", { src: film.src, muted: true, playsInline: true, preload: "auto" });
    video.onloadedmetadata = () => go(step);
    videos.push(video);
    if (onTable) plane = drawing(screen, `0 0 ${top} ${top}`);
    add(figure, "figcaption", { textContent: onTable ? `${film.name}, with actions and plans` : film.name });
  }

  function addPlane(parent) {
    const figure = add(parent, "figure");
    const svg = drawing(add(figure, "div", { className: "screen square" }), `0 0 ${top} ${top}`);
    add(figure, "figcaption", { textContent: "actions in their plane, the second one downwards" });
    return svg;
  }

  function addKey(key, k) {
    nCurves += key.ranges.length;
    const box = add(strips, "details", { open: k === 0 || nCurves <= 14 }); // the others where somebody wants them
    add(box, "summary", { textContent: key.name });
    key.ranges.forEach(([low, high], dimension) => {
      const strip = add(box, "label", { className: "strip" });
      const text = add(strip, "span", { textContent: `[${dimension}]` });
      const value = add(text, "output");
      add(text, "small", { textContent: `${number(low)} .. ${number(high)}` });
      const levels = episode.curves[k][dimension];
      const svg = drawing(add(strip, "div"), `0 ${-0.04 * top} ${Math.max(episode.length - 1, 1)} ${1.08 * top}`);
      svg.innerHTML = line(levels.map((y, x) => `${x * record.stride},${top - y}`).join(" "), "#2563a8", 1.5);
      if (k === 0) planLayers.push(svg.appendChild(document.createElementNS(svg.namespaceURI, "g")));
      outputs.push(() => {
        const level = levels[Math.min(Math.round(step / record.stride), levels.length - 1)];
        value.textContent = number(low + ((high - low) * level) / top);
      });
    });
  }

  // ---- one step
  function go(to) {
    step = Math.max(0, Math.min(to, lastStep()));
    slider.value = step;
    strips.style.setProperty("--at", step / Math.max(lastStep(), 1));
    if (record.fps) clock.textContent = `step ${Math.floor(step)} of ${episode.length}`;
    else clock.textContent = `${secondOf(step).toFixed(1)} of ${seconds().toFixed(1)} s`;
    if (!playing || !record.fps) outputs.forEach((write) => write());
    else if (Math.floor(step) % 3 === 0) outputs.forEach((write) => write());
    for (const video of videos) if (!playing && video.duration) video.currentTime = Math.min(secondOf(step), video.duration);
    drawPlans();
  }

  function drawPlans() {
    const before = episode.plans.filter((plan) => plan.step <= Math.floor(step));
    const plan = before[before.length - 1];
    if (plan !== shownPlan) {
      shownPlan = plan;
      plans.querySelectorAll("button").forEach((button, k) => button.classList.toggle("now", episode.plans[k] === plan));
      note.textContent = [episode.note, plan && `plans at step ${plan.step}: ${plan.note}`].filter(Boolean).join("; ");
      planLayers.forEach((layer, dimension) => {
        layer.innerHTML = !plan ? "" : plan.plans.map((one, k) =>
          line(one[dimension].map((y, x) => `${plan.step + x},${top - y}`).join(" "), colour(plan, k), 1, 'opacity=".7"'),
        ).join("");
      });
    }
    if (plane) drawPlane(plan);
  }

  const colour = (plan, k) => COLOURS[plan.modes[k] % COLOURS.length];

  function drawPlane(plan) {
    const [low, high] = record.plane;
    const scaled = (dimension, level) => {
      const [from, to] = record.keys[0].ranges[dimension];
      return (top * (from + ((to - from) * level) / top - low)) / (high - low);
    };
    const path = (xs, ys) => xs.map((x, k) => `${scaled(0, x)},${scaled(1, ys[k])}`).join(" ");
    const [xs, ys] = episode.curves[0];
    const now = Math.min(Math.floor(step / record.stride), xs.length - 1);
    const drawn = plan ? plan.plans.map((one, k) => line(path(one[0], one[1]), colour(plan, k), 1.5, 'opacity=".8"')) : [];
    plane.innerHTML = line(path(xs, ys), "#2563a8", 1, 'opacity=".45"') + drawn.join("") +
      line(path(xs.slice(0, now + 1), ys.slice(0, now + 1)), "#2563a8", 2) +
      `<circle cx="${scaled(0, xs[now])}" cy="${scaled(1, ys[now])}" r="${top / 60}" fill="#c22"/>`;
  }

  // ---- time
  function pause() {
    playing = false;
    play.textContent = "Play";
    videos.forEach((video) => video.pause());
  }

  function tick(time) {
    if (!playing) return;
    const film = videos[0] && !videos[0].error ? videos[0] : null; // its clock counts where there is one
    if (film && seconds()) go(record.fps ? film.currentTime * record.fps : (1000 * film.currentTime) / seconds());
    else if (!film) go(step + ((time - last) / 1000) * record.fps);
    last = time;
    if (step >= lastStep() || (film && film.ended)) { pause(); go(lastStep()); }
    else requestAnimationFrame(tick);
  }

  play.onclick = () => {
    if (playing) { pause(); return go(step); }
    if (step >= lastStep()) go(0);
    playing = true;
    play.textContent = "Pause";
    videos.forEach((video) => video.play().catch(() => {}));
    last = performance.now();
    requestAnimationFrame(tick);
  };
  slider.oninput = () => { pause(); go(Number(slider.value)); };
  select.onchange = () => { pause(); open(Number(select.value)); };
  open(0);
})();
