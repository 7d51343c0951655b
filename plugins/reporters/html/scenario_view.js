"use strict";
// A scenario of the page's data as elements: its row, and its timeline, recording, texts and scores. Text of a run only ever
// becomes text nodes and attributes, never markup.
const MARKS = { failed: "!", wrong: "✕", "not scored": "–", right: "✓" };
const SVG = "http://www.w3.org/2000/svg";
const WAVE_HEIGHT = 50;

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}
const html = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
const svg = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

function scenarioRow(item, data) {
  const state = data.outcomes[item.outcome];
  const tags = (item.tags || []).flatMap((tag) => [" · ", html("bdi", {}, data.strings[tag])]);
  return html("details", { class: "scenario", id: item.anchor },
    html("summary", {},
      html("span", { class: `state ${state.replace(" ", "-")}`, title: state },
        html("span", { "aria-hidden": "true" }, MARKS[state]), html("span", { class: "hidden" }, state)),
      html("span", { class: "what" },
        html("span", { class: "question", dir: "auto" }, item.question || ""),
        item.why ? html("span", { class: "why", dir: "auto" }, item.why) : null,
        html("span", { class: "meta" }, html("bdi", {}, item.id), ...tags)),
      html("span", { class: "gap-time" }, item.response || "")));
}

function scenarioBody(item, data) {
  const texts = (item.texts || []).map(([label, text, missing]) => html("div", {}, html("dt", {}, data.strings[label]),
    missing === null ? html("dd", { dir: "auto" }, text) : html("dd", { class: "missing" }, `– ${data.strings[missing]}`)));
  const scores = (item.scores || []).map((numbers) => {
    const [label, value, reason] = numbers.map((number) => data.strings[number]);
    return html("tr", {},
      html("th", { scope: "row" }, html("bdi", {}, label), reason ? html("small", { dir: "auto" }, reason) : null),
      html("td", { class: "num" }, value));
  });
  return html("div", { class: "body" }, ...timeline(item.timeline, item.player, data), recording(item.player),
    html("div", { class: "columns uneven" }, html("dl", { class: "texts" }, ...texts),
      html("table", { class: "scores" }, html("caption", {}, "Scores of this scenario"), html("tbody", {}, ...scores))));
}

function recording(player) {
  const source = player.embedded || player.link;
  if (!source) return html("p", { class: "absent" }, `No recording: ${player.why}.`);
  const about = html("small", {}, "Left: user. Right: system, as heard.");
  if (!player.embedded) about.append(" File: ", html("a", { href: player.link }, decodeURIComponent(player.link)));
  const label = "Recording: user on the left, system on the right";
  return html("div", { class: "player" }, html("audio", { controls: "", preload: "none", src: source, "aria-label": label }), about);
}

function timeline(t, player, data) {
  const names = ["Decisions", "User", "System", "Compute"].map((name) => html("span", {}, name));
  const label = `Timeline of ${t.seconds.toFixed(1)} s; the events are listed below.`;
  const drawing = svg("svg", { width: "100%", height: 172, role: "img", "aria-label": label },
    ...(t.ticks || []).flatMap(tick),
    ...[42, 100].map((y) => line(0, 100, y, y, "rest")),
    ...blocks(t.user, "user", 24), ...blocks(t.heard, "heard", 82), ...blocks(t.lost, "lost", 82),
    wave(player.user, "user", 24, data.heights), wave(player.system, "system", 82, data.heights),
    ...blocks(t.gap, "gap", 82),
    t.response ? responseBracket(t.response) : null,
    ...(t.stops || []).map(stopBracket),
    ...(t.work || []).map(([x, width, kind, title]) => block(data.strings[kind], x, width, 130, 8, data.strings[title])),
    ...(t.marks || []).flatMap((each) => mark(each, Object.keys(data.symbols))));
  const events = (t.events || []).map(([at, what]) => html("li", {}, html("span", {}, at), ` ${data.strings[what]}`));
  return [
    html("div", { class: "lanes" }, html("div", { class: "lane-names", "aria-hidden": "true" }, ...names),
      html("div", { class: "time" }, drawing, html("span", { class: "playhead", hidden: "" }))),
    html("details", { class: "plain moments" }, html("summary", {}, "List of events"), html("ol", {}, ...events)),
  ];
}

const line = (x1, x2, y1, y2, kind) => svg("line", { class: kind, x1: `${x1}%`, x2: `${x2}%`, y1, y2 });
const block = (kind, x, width, y, height, title) =>
  svg("rect", { class: kind, x: `${x}%`, width: `${width}%`, y, height, rx: 2 }, svg("title", {}, title));
const blocks = (spans, kind, y) => (spans || []).map(([x, width, title]) => block(kind, x, width, y, 36, title));

function tick([x, label], index) {
  const anchor = index ? { "text-anchor": "middle" } : {};
  return [line(x, x, 22, 150, "grid"), svg("text", { class: "tick", x: `${x}%`, y: 166, ...anchor }, label)];
}

function wave(heights, kind, y, scale) {
  if (!heights) return null;
  const bars = [...heights].map((sign, x) => [x, scale.indexOf(sign)]).filter(([, height]) => height > 0);
  const path = bars.map(([x, height]) => `M${x} ${WAVE_HEIGHT - height}V${WAVE_HEIGHT + height}`).join("");
  const view = { viewBox: `0 0 ${heights.length} ${2 * WAVE_HEIGHT}`, preserveAspectRatio: "none" };
  return svg("svg", { y, width: "100%", height: 36, ...view }, svg("path", { class: `wave ${kind}`, d: path }));
}

function responseBracket([x, width, label, early]) {
  const end = x + width;
  return svg("g", { class: early ? "bracket early" : "bracket" }, line(x, end, 71, 71, ""),
    line(x, x, 62, 80, ""), line(end, end, 62, 80, ""),
    svg("svg", { x: `${x + width / 2}%`, y: 71, overflow: "visible" },
      svg("text", { y: -4, "text-anchor": x > 85 ? "end" : "middle" }, label)));
}

function stopBracket([x, width, label]) {
  const end = x + width;
  return svg("g", { class: "bracket stop" }, line(x, end, 124, 124, ""), line(x, x, 119, 129, ""), line(end, end, 119, 129, ""),
    svg("svg", { x: `${end}%`, y: 124, overflow: "visible" }, svg("text", { x: 4, y: 4, "text-anchor": "start" }, label)));
}

function mark([x, kind, title], kinds) {
  const name = kinds[kind];
  const decision = ["speak", "yield", "ignore"].includes(name);
  const shape = [...document.querySelector(`.legend .mark.${name}`).childNodes].map((node) => node.cloneNode(true));
  const drawn = svg("svg", { class: `mark ${name}`, x: `${x}%`, y: decision ? 10 : 134, overflow: "visible" },
    svg("title", {}, title), ...shape);
  return decision ? [line(x, x, 18, 150, "guide"), drawn] : [drawn];
}
