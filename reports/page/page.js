// SPDX-License-Identifier: Apache-2.0
"use strict";
// Draws the page from the data in it: see model.go for what they mean.
// Whatever came from a test is put into the page by text nodes only.

const data = JSON.parse(document.getElementById("data").textContent);
const { kernels, rows, texts, details } = data;

// ---- Statuses

// The letters of statuses, the worst first.
const order = "FESXRUP";
const statuses = {
  F: { word: "FAIL", say: "failed" },
  E: { word: "ERROR", say: "without a verdict" },
  S: { word: "SKIP", say: "skipped" },
  X: { word: "XFAIL", say: "known" },
  U: { word: "XPASS", say: "known, but passed" },
  R: { word: "RECORDED", say: "recorded" },
  P: { word: "PASS", say: "passed" },
  ".": { word: "missing", say: "missing" },
};
const isBad = letter => letter === "F" || letter === "E";
const isGood = letter => letter === "P" || letter === "U" || letter === "R";

// standing is the letter of a whole row on a kernel: what was skipped or known
// in part counts only where nothing passed. model.go has the same rule.
function standing(cell, counts) {
  if (!cell) return ".";
  if (counts.F) return "F";
  if (counts.E || cell.not_run) return "E";
  if (counts.P || counts.U || counts.R) return "P";
  if (counts.S) return "S";
  if (counts.X) return "X";
  return ".";
}

// ---- What follows from the data

rows.forEach((row, number) => {
  row.number = number;
  const slash = row.id.indexOf("/");
  row.group = slash < 0 ? "" : row.id.slice(0, slash);
  row.name = slash < 0 ? row.id : row.id.slice(slash + 1);
  row.counts = row.cells.map(cell => {
    const counts = {};
    if (cell) for (const letter of cell.letters) if (letter !== ".") counts[letter] = (counts[letter] || 0) + 1;
    return counts;
  });
  row.standings = row.cells.map((cell, k) => standing(cell, row.counts[k]));
  // Where a row was skipped, went wrong or did not run, that is the one
  // difference, and not each subtest that is not there.
  row.whole = row.cells.map((cell, k) => !cell || cell.not_run > 0 || row.counts[k].S > 0 || row.counts[k].E > 0);
  row.differing = kernels.length > 1 ? differing(row) : [];
  // What was never to run on a kernel is no difference.
  row.differs = row.differing.length > 0 || new Set(row.standings.filter((_, k) => row.cells[k])).size > 1;
  // What only did not run is no verdict, and tells less than what went wrong.
  row.idle = row.cells.map((cell, k) => !!cell && cell.not_run > 0 && !row.counts[k].F && !row.counts[k].E);
  row.rank = Math.min(...row.standings.map((s, k) => isBad(s) ? order.indexOf(s) + (row.idle[k] ? .5 : 0) : 9), row.differs ? 5 : 9);
});

// differing are the numbers of the subtests whose verdict, or recorded
// behaviour, is not the same on all kernels.
function differing(row) {
  const list = [];
  for (let s = 0; s < row.subtests.length; s++) {
    let first = "", got = 0;
    for (let k = 0; k < kernels.length; k++) {
      const letter = letterOf(row, s, k);
      if (letter === "." && row.whole[k]) continue;
      const now = letter === "R" ? details[row.cells[k].details[s]][1] : 0;
      if (first === "") {
        first = letter;
        got = now;
      } else if (letter !== first || now !== got) {
        list.push(s);
        break;
      }
    }
  }
  return list;
}

function letterOf(row, s, k) {
  const cell = row.cells[k];
  return cell && cell.letters[s] || ".";
}

// fact reads one field of a subtest's details.
const fields = { expected: 0, got: 1, reason: 2, lacks: 3, output: 4, attempts: 5, by: 6, reference: 7, found: 8 };
function fact(row, s, k, field) {
  const cell = row.cells[k];
  return cell && letterOf(row, s, k) !== "." ? texts[details[cell.details[s]][fields[field]]] : "";
}

const subtestName = (row, s) => texts[row.subtests[s]] || row.name;
const subtestID = (row, s) => texts[row.subtests[s]] ? row.id + "/" + texts[row.subtests[s]] : row.id;

// searchedText is what a search looks at, in small letters: made when it is
// first asked for.
function searchedText(row, s) {
  row.searched = row.searched || [];
  if (row.searched[s] === undefined) {
    let text = subtestID(row, s);
    for (let k = 0; k < kernels.length; k++) {
      if (!".P".includes(letterOf(row, s, k))) text += "\n" + fact(row, s, k, "reason") + "\n" + fact(row, s, k, "lacks");
    }
    row.searched[s] = text.toLowerCase();
  }
  return row.searched[s];
}

// A row is called by its name, or by its whole ID where two groups have one of
// that name.
const namesakes = new Map();
for (const row of rows) namesakes.set(row.name, (namesakes.get(row.name) || 0) + 1);
const label = row => namesakes.get(row.name) > 1 ? row.id : row.name;

// worstFirst is the order of the matrix.
function worstFirst(a, b) {
  return a.group < b.group ? -1 : a.group > b.group ? 1 : a.rank - b.rank || a.number - b.number;
}
const sorted = [...rows].sort(worstFirst);

const number = n => String(n).replace(/\B(?=(\d{3})+$)/g, ",");
const plural = (n, noun) => number(n) + " " + noun + (n === 1 ? "" : "s");
function elapsed(s) {
  if (s < 9.95) return s.toFixed(1) + " s";
  if (s < 59.5) return Math.round(s) + " s";
  s = Math.round(s);
  const two = n => String(n).padStart(2, "0");
  return s < 3600 ? Math.floor(s / 60) + "m" + two(s % 60) + "s" : Math.floor(s / 3600) + "h" + two(Math.floor(s / 60) % 60) + "m";
}

// plain shows what would otherwise not be seen, or would change how the text
// around it reads: control characters and marks of direction.
function plain(text) {
  return text.replace(/\r\n/g, "\n").replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff9-\ufffb]/g,
    c => c < " " ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}

// ---- Elements

// el makes an element. Strings among the children become text, and attributes
// are never made of markup.
function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "onclick") e.addEventListener("click", value);
    else e.setAttribute(name, value === true ? "" : value);
  }
  e.append(...children.flat(3).filter(c => c !== null && c !== undefined && c !== false && c !== ""));
  return e;
}

const svgNames = "http://www.w3.org/2000/svg";
function icon(name) {
  const svg = document.createElementNS(svgNames, "svg");
  svg.setAttribute("class", "i");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(svgNames, "use");
  use.setAttribute("href", "#i-" + (name === "." ? "none" : name));
  svg.append(use);
  return svg;
}

const mark = letter => el("span", { class: "mark " + css(letter), title: statuses[letter].word }, icon(letter));
const css = letter => letter === "." ? "absent" : letter;
const byID = id => document.getElementById(id);

// ---- State and its address

// A place is what the details are about: a kernel, a row, or a subtest, all by
// number; -1 is none.
const state = { q: "", only: new Set(), differs: false, place: null, open: new Map(), unfolded: new Set() };

function encode(text) {
  return encodeURIComponent(text).replace(/%2F/g, "/").replace(/%3A/g, ":").replace(/%20/g, "+").replace(/[()']/g, c => "%" + c.charCodeAt(0).toString(16));
}

function addressOf(place) {
  const parts = [];
  if (place && place.k >= 0) parts.push("kernel=" + encode(kernels[place.k].id));
  if (place && place.r >= 0) parts.push("test=" + encode(place.s >= 0 ? subtestID(rows[place.r], place.s) : rows[place.r].id));
  return parts;
}

// link is the address of a place, good for sending around.
const link = place => "#" + addressOf(place).join("&");

function address() {
  const parts = addressOf(state.place);
  if (state.q) parts.push("q=" + encode(state.q));
  if (state.only.size) parts.push("status=" + [...state.only].map(l => statuses[l].word.toLowerCase()).join(","));
  if (state.differs) parts.push("differs=1");
  return "#" + parts.join("&");
}

function placeOf(kernelID, testID) {
  const k = kernels.findIndex(kernel => kernel.id === kernelID);
  if (!testID) return k < 0 ? null : { k, r: -1, s: -1 };
  for (const row of rows) {
    if (testID !== row.id && !testID.startsWith(row.id + "/")) continue;
    const s = row.subtests.findIndex((_, i) => subtestID(row, i) === testID);
    if (s < 0 && testID !== row.id) continue;
    return { k: k < 0 ? Math.max(0, row.cells.findIndex(cell => cell)) : k, r: row.number, s: testID === row.id ? -1 : s };
  }
  return null;
}

function readAddress() {
  const params = new URLSearchParams(location.hash.slice(1));
  state.place = placeOf(params.get("kernel"), params.get("test"));
  state.q = params.get("q") || "";
  const wanted = (params.get("status") || "").split(",");
  state.only = new Set([...order].filter(l => wanted.includes(statuses[l].word.toLowerCase())));
  state.differs = params.get("differs") === "1" && kernels.length > 1;
  byID("q").value = state.q;
  if ((params.get("kernel") || params.get("test")) && !state.place) say("This run does not have what the link names.");
}

let own = ""; // the address that we set ourselves
function writeAddress(push) {
  const now = address();
  if (now === (location.hash || "#")) return;
  own = now === "#" ? "" : now;
  try {
    history[push ? "pushState" : "replaceState"](null, "", now === "#" ? location.pathname + location.search : now);
  } catch {
    location.hash = now;
  }
}

const samePlace = (a, b) => a === b || a && b && a.k === b.k && a.r === b.r && a.s === b.s;

// show is the way to a place: its details, and the matrix around it.
function show(place, { focus = "", scroll = false } = {}) {
  const before = state.place;
  state.place = place;
  if (place && place.r >= 0 && lineOf(place) < 0) {
    const row = rows[place.r];
    // A link beats a filter.
    if (filtered() && !(place.s < 0 ? left().some(l => l.row === row) : matching(row).includes(place.s))) clearFilters();
    if (place.s >= 0) {
      state.open.set(place.r, true);
      if (!visibleSubtests(row).includes(place.s)) state.unfolded.add(place.r);
    }
    drawMatrix();
  } else {
    if (place && place.r >= 0) drawMore(lineOf(place) + 40);
    for (const old of byID("matrix").querySelectorAll(".at")) {
      old.classList.remove("at");
      old.removeAttribute("aria-current");
    }
    const cell = place && cellAt(place);
    if (cell) {
      cell.classList.add("at");
      cell.setAttribute("aria-current", "true");
    }
  }
  writeAddress(!before !== !place);
  drawDetail();
  if (scroll && place) scrollTo(place);
  if (focus === "detail") byID("detail").focus({ preventScroll: true });
  if (focus === "cell" && place) focusCell(place);
}

// ---- Filters

const filtered = () => state.q !== "" || state.only.size > 0 || state.differs;

function clearFilters() {
  state.q = "";
  state.only.clear();
  state.differs = false;
  byID("q").value = "";
  drawTools();
}

// matching are the numbers of the row's subtests that the filters leave.
function matching(row) {
  const words = state.q.toLowerCase().split(/\s+/).filter(w => w);
  let list = state.differs ? row.differing : row.subtests.map((_, s) => s);
  if (state.only.size) list = list.filter(s => kernels.some((_, k) => state.only.has(letterOf(row, s, k))));
  if (words.length && !words.every(w => row.id.toLowerCase().includes(w))) {
    list = list.filter(s => words.every(w => searchedText(row, s).includes(w)));
  }
  return list;
}

// left says what of the matrix the filters leave: rows, each with its subtests.
function left() {
  const out = [];
  for (const row of sorted) {
    if (!filtered()) {
      out.push({ row, subtests: null });
      continue;
    }
    const subtests = matching(row);
    const words = state.q.toLowerCase().split(/\s+/).filter(w => w);
    const named = words.every(w => row.id.toLowerCase().includes(w));
    // A row can want a look by itself: one that did not run has no subtests.
    const itself = named && (!state.differs || row.differs) &&
      (!state.only.size || row.standings.some(s => isBad(s) && state.only.has(s)));
    if (subtests.length || itself && (!subtests.length)) out.push({ row, subtests });
  }
  return out;
}

// A filter opens rows by itself: not many subtests together, and not for what
// is said of a script as a whole, which its row says, too.
const autoOpen = 120;

function openedBy(kept) {
  const open = new Set();
  let sum = 0;
  for (const { row, subtests } of kept) {
    const tells = subtests && subtests.some(s => !subtestName(row, s).startsWith("("));
    if (!tells || sum + subtests.length > autoOpen) continue;
    open.add(row.number);
    sum += subtests.length;
  }
  return open;
}

const foldAt = 200; // subtests of a row that are shown at once

let opened = new Set(); // rows that the filter opened

function isOpen(row) {
  const said = state.open.get(row.number);
  return said !== undefined ? said : opened.has(row.number);
}

function visibleSubtests(row) {
  if (!isOpen(row)) return [];
  const list = filtered() ? matching(row) : worstSubtests(row);
  return state.unfolded.has(row.number) ? list : list.slice(0, foldAt);
}

// worstSubtests has what is bad or differs before the rest, each in the order
// of the script.
function worstSubtests(row) {
  const rank = new Map();
  const differ = new Set(row.differing);
  row.subtests.forEach((_, s) => {
    let best = 3;
    for (let k = 0; k < kernels.length; k++) {
      const letter = letterOf(row, s, k);
      best = Math.min(best, letter === "F" ? 0 : letter === "E" ? 1 : 3);
    }
    rank.set(s, best === 3 && differ.has(s) ? 2 : best);
  });
  return [...rank.keys()].sort((a, b) => rank.get(a) - rank.get(b) || a - b);
}

// ---- Kernels: one card for each

function drawKernels() {
  const cards = kernels.map((kernel, k) => {
    const spec = [specOf(kernel) !== kernel.name && specOf(kernel), kernel.append && "append " + kernel.append, where(kernel)].filter(x => x);
    return el("article", { class: "kernel w" + kernel.status },
      el("div", { class: "head" },
        el("h2", null, el("span", { class: "badge" }, kernel.word), " ",
          el("a", { class: "name", href: link({ k, r: -1, s: -1 }) }, plain(kernel.name))),
        trend(kernel)),
      kernels.length > 1 && el("p", { class: "line" }, plain(kernel.line)),
      el("p", { class: "spec" }, spec.flatMap((s, i) => i ? [el("span", { class: "sep" }, "·"), plain(s)] : [plain(s)])),
      fabric(k),
      el("ul", { class: "counts" }, [..."FEPSXUR"].filter(l => kernel.counts[l]).map(l =>
        el("li", { class: css(l) }, mark(l), el("b", null, number(kernel.counts[l])), " " + statuses[l].say))),
      kernel.first && el("p", { class: "first" }, kernel.counts.F ? "First to fail: " : "First error: ", placeLink({ k, r: kernel.first.row, s: kernel.first.subtest })),
    );
  });
  byID("kernels").replaceChildren(...cards);
  const many = kernels.length > 6, body = document.querySelector(".body");
  byID("kernels").classList.toggle("many", many);
  body.classList.toggle("many", many);
  body.classList.toggle("single", kernels.length === 1);
}

// specOf is what the user called the kernel, without the words that were added
// to its command line: they are said apart.
const specOf = kernel => (kernel.spec || "").replace(kernel.append ? /,append=.*/s : "", "");

// where says in a few words what the kernel ran on and with.
function where(kernel) {
  const p = kernel.properties || {};
  return [[p.machine, p.accelerator].filter(x => x).join(" "), p.guest && "guest " + p.guest, p.parser && "parser " + p.parser].filter(x => x).join(", ");
}

function placeLink(place) {
  const row = rows[place.r];
  const sub = place.s >= 0 ? subtestName(row, place.s) : "";
  return el("a", { href: link(place) }, el("bdi", null, plain(label(row))), sub && el("span", { class: "sep" }, "›"), sub && el("bdi", null, plain(sub)));
}

// fabric is the whole kernel at one glance: a square for each row, in the same
// order on every kernel. It repeats the matrix, so only eyes get it.
function fabric(k) {
  if (rows.length < 12 || rows.length * kernels.length > 1500) return null;
  return el("div", { class: "fabric", "aria-hidden": "true" }, rows.map(row => {
    const s = row.standings[k];
    return el("a", { href: link({ k, r: row.number, s: -1 }), class: row.idle[k] ? "idle" : css(s), tabindex: "-1", title: plain(label(row)) + ": " + summaryOf(row, k) }, isBad(s) && !row.idle[k] && icon(s));
  }));
}

// trend shows the last runs of the same kernel line, the newest at the right.
function trend(kernel) {
  if (!kernel.past) return null;
  const runs = [...kernel.past, { name: "", status: kernel.status, word: kernel.word, line: kernel.line, counts: kernel.counts, ran: kernel.ran, noun: kernel.noun, release: kernel.name, started: data.started, now: true }];
  const total = run => Object.values(run.counts).reduce((a, b) => a + b, 0);
  const most = Math.max(1, ...runs.map(total));
  return el("div", { class: "trend", role: "list", "aria-label": "The last runs" }, runs.map(run => {
    const bad = (run.counts.F || 0) + (run.counts.E || 0);
    const title = (run.now ? "This run" : run.started) + ", " + plain(run.release || "") + "\n" + run.word + ": " + plain(run.line) + "\n" + plural(run.ran, run.noun);
    const bar = el("span", { class: "bar" });
    // The square root keeps a small run visible beside a whole one.
    bar.style.height = Math.round(4 + 16 * Math.sqrt(total(run) / most)) + "px";
    return el(run.link ? "a" : "span", { role: "listitem", class: "run w" + run.status + (run.now ? " now" : ""), href: run.link, title, "aria-label": title },
      bar, el("span", { class: "sign" }, bad ? icon(run.counts.F ? "F" : "E") : run.status ? icon("E") : null));
  }));
}

// summaryOf is a cell in words.
function summaryOf(row, k) {
  const cell = row.cells[k];
  if (!cell) return "not part of this run";
  const parts = [..."FEPSXUR"].filter(l => row.counts[k][l]).map(l => number(row.counts[k][l]) + " " + statuses[l].say);
  if (cell.not_run) parts.push(parts.length ? number(cell.not_run) + " not run" : "not run");
  return parts.join(", ") || "no results";
}

// ---- Summary: what to look at

function drawSummary() {
  const failed = [], errors = [], idle = [], flaky = [], gone = [], known = new Map(), skips = new Map();
  const group = (groups, name, place) => {
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(place);
  };
  for (const row of rows) {
    row.cells.forEach((cell, k) => {
      if (cell && cell.not_run) idle.push({ r: row.number, s: -1, k });
    });
    for (let s = 0; s < row.subtests.length; s++) {
      let fail = -1, error = -1, good = false, flake = -1, pass = -1;
      for (let k = 0; k < kernels.length; k++) {
        const letter = letterOf(row, s, k);
        if (letter === ".") continue;
        if (letter === "F" && fail < 0) fail = k;
        if (letter === "E" && error < 0) error = k;
        if (letter === "U" && pass < 0) pass = k;
        if (letter === "S") group(skips, fact(row, s, k, "lacks") || fact(row, s, k, "reason") || "not said what", { r: row.number, s, k });
        if (letter === "X") group(known, fact(row, s, k, "reason") || "not said why", { r: row.number, s, k });
        good = good || isGood(letter);
        if (details[row.cells[k].details[s]][5]) flake = flake < 0 ? k : flake;
      }
      if (fail >= 0) failed.push({ r: row.number, s, k: fail, some: good });
      else if (error >= 0) errors.push({ r: row.number, s, k: error });
      if (flake >= 0) flaky.push({ r: row.number, s, k: flake });
      if (pass >= 0) gone.push({ r: row.number, s, k: pass });
    }
  }
  const some = failed.filter(f => f.some), all = failed.filter(f => !f.some);
  const several = kernels.length > 1;
  const quiet = !failed.length && !errors.length && !idle.length;
  byID("summary").replaceChildren(...[
    quiet && el("p", { class: "quiet-line" }, mark("P"), "Nothing failed."),
    several && list("Fails here, passes there", some),
    list(several && some.length ? "Fails wherever it runs" : "Failed", several ? all : failed),
    list("No verdict", errors),
    // Of a run that was cut short they are many, and all alike.
    idle.length > 8 ? groups("Not run", new Map([["planned, and never started", idle]]), p => rows[p.r].cells[p.k].not_run) : list("Not run", idle),
    list("Flaky: the verdict changed from attempt to attempt", flaky),
    machinesLost(),
  ].filter(x => x));
  byID("coverage").replaceChildren(...[list("Known problems that are gone", gone), groups("Known problems, still there", known), gaps(), groups("Skipped, by what is missing", skips)].filter(x => x));
}

function list(title, places) {
  if (!places.length) return null;
  const shown = 8;
  const ul = el("ul", { class: "places" }, places.slice(0, shown).map(entry));
  const section = el("section", null, el("h3", null, title, el("span", { class: "n" }, number(places.length))), ul);
  if (places.length > shown) {
    const more = el("button", { type: "button", class: "quiet more", onclick: () => {
      const next = places.slice(ul.children.length, ul.children.length + 200);
      ul.append(...next.map(entry));
      if (ul.children.length >= places.length) more.remove();
      else more.textContent = number(places.length - ul.children.length) + " more";
    } }, number(places.length - shown) + " more");
    section.append(more);
  }
  return section;
}

// entry is one line of a list: where it is, how it stands on each kernel, why.
function entry(place) {
  const row = rows[place.r];
  const reason = place.s >= 0 ? fact(row, place.s, place.k, "reason") || fact(row, place.s, place.k, "lacks") : "";
  return el("li", null,
    el("span", { class: "marks" }, kernels.map((kernel, k) => {
      const letter = place.s >= 0 ? letterOf(row, place.s, k) : row.standings[k];
      return el("a", { href: link({ ...place, k }), class: "mark " + css(letter), title: kernel.short + ": " + statuses[letter].word, "aria-label": kernel.short + ": " + statuses[letter].word }, icon(letter));
    })),
    el("span", { class: "what" }, placeLink({ r: place.r, s: place.s, k: place.k }), " ", age(place), place.s < 0 && row.cells[place.k].not_run ? el("span", { class: "reason" }, "did not run") : null,
      reason && el("span", { class: "reason" }, plain(reason))));
}

function pastLetters(place) {
  const kernel = kernels[place.k];
  if (!kernel || !kernel.past) return "";
  if (place.s < 0) return kernel.row_past[place.r];
  const found = (kernel.subtest_past || []).find(p => p.row === place.r && p.subtest === place.s);
  return found ? found.letters : "";
}

// age says since when something that is bad now has been so.
function age(place) {
  const row = rows[place.r];
  if (!isBad(place.s >= 0 ? letterOf(row, place.s, place.k) : row.standings[place.k])) return null;
  const letters = pastLetters(place).replace(/\./g, "");
  if (!letters) return null;
  let n = 0;
  while (n < letters.length && isBad(letters[letters.length - 1 - n])) n++;
  if (n === 0) return el("span", { class: "tag new" }, "new");
  return el("span", { class: "tag" }, n === letters.length ? "all of the last " + plural(n + 1, "run") : plural(n + 1, "run") + " in a row");
}

function machinesLost() {
  const items = kernels.flatMap(kernel => (kernel.lost || []).map(text => el("li", null, el("b", null, kernel.short), " ", plain(text))));
  return items.length ? el("section", null, el("h3", null, "Machines lost", el("span", { class: "n" }, number(items.length))), el("ul", { class: "notes" }, items)) : null;
}

function gaps() {
  const by = new Map();
  for (const kernel of kernels) for (const gap of kernel.gaps || []) by.set(gap, [...by.get(gap) || [], kernel.short]);
  if (!by.size) return null;
  return el("section", null, el("h3", null, "Mediated, but not tested", el("span", { class: "n" }, number(by.size))),
    el("ul", { class: "notes" }, [...by].map(([gap, names]) => el("li", null, kernels.length > 1 && el("b", null, names.join(", ") + " "), plain(gap)))));
}

// groups lists places under what they have in common, the largest group first.
// weight is what a place counts for.
function groups(title, map, weight = () => 1) {
  if (!map.size) return null;
  const list = [...map].sort((a, b) => b[1].length - a[1].length || (a[0] < b[0] ? -1 : 1));
  const sum = places => places.reduce((n, p) => n + weight(p), 0);
  const all = list.reduce((n, [, places]) => n + sum(places), 0);
  return el("section", null, el("h3", null, title, el("span", { class: "n" }, number(all))),
    el("ul", { class: "notes groups" }, list.map(([name, places]) => {
      const within = [...new Map(places.map(p => [p.r, p])).values()];
      const where = kernels.filter((_, k) => places.some(p => p.k === k)).map(kernel => kernel.short);
      return el("li", null, el("details", null,
        el("summary", null, el("span", null, plain(name)), el("span", { class: "n" }, number(sum(places)))),
        el("p", null, kernels.length > 1 && el("b", null, where.join(", ") + ": "),
          within.slice(0, 40).flatMap((p, i) => [i ? ", " : "", el("a", { href: link({ k: p.k, r: p.r, s: -1 }) }, plain(label(rows[p.r])))]),
          within.length > 40 && " and " + number(within.length - 40) + " more")));
    })));
}

// ---- Tools

function drawTools() {
  const there = [...order].filter(l => kernels.some(kernel => kernel.counts[l]));
  byID("filters").replaceChildren(...there.map(l => el("button", {
    type: "button", class: "chip " + css(l), "aria-pressed": String(state.only.has(l)),
    onclick: () => {
      if (!state.only.delete(l)) state.only.add(l);
      filter();
    },
  }, mark(l), statuses[l].word)));
  byID("differs").hidden = kernels.length < 2;
  byID("differs").setAttribute("aria-pressed", String(state.differs));
  byID("reset").hidden = !filtered();
}

function filter() {
  state.open.clear();
  writeAddress(false);
  drawTools();
  drawMatrix();
}

// ---- Matrix

let lines = []; // of the matrix, all
let drawn = 0; // of them
let tbody = null;
const chunk = Math.max(50, Math.floor(500 / (kernels.length + 1))); // lines that are drawn at once

function drawMatrix() {
  const kept = left();
  const matched = kept.reduce((n, l) => n + (l.subtests ? l.subtests.length : 0), 0);
  opened = openedBy(kept);
  byID("shown").textContent = filtered() ? plural(kept.length, "row") + ", " + plural(matched, "subtest") : "";

  lines = [];
  let group = null;
  for (const { row } of kept) {
    if (row.group !== group) lines.push({ group: group = row.group });
    lines.push({ row });
    if (!isOpen(row)) continue;
    const subtests = visibleSubtests(row);
    for (const s of subtests) lines.push({ row, s });
    const rest = (filtered() ? matching(row).length : row.subtests.length) - subtests.length;
    if (rest > 0) lines.push({ row, rest });
  }

  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.key : undefined;
  const inMatrix = byID("matrix").contains(document.activeElement);
  const keep = Math.max(chunk, drawn, state.place ? lineOf(state.place) + 40 : 0);
  drawn = 0;
  tbody = el("tbody");
  const table = el("table", { role: "treegrid", "aria-label": "All results", "aria-rowcount": lines.length + 1, class: "n" + Math.min(kernels.length, 12) },
    el("colgroup", null, el("col", { class: "names" }), kernels.map(() => el("col"))),
    el("thead", null, el("tr", { "aria-rowindex": 1 }, el("th", { scope: "col", class: "corner" }, el("span", { class: "out" }, "Test")),
      kernels.map((kernel, k) => el("th", { scope: "col" }, el("a", { href: link({ k, r: -1, s: -1 }), title: plain(kernel.name) + "\n" + plain(kernel.line), "data-key": "h:" + k, "data-line": "-1", "data-column": k, tabindex: "-1" },
        el("span", { class: "short" }, el("span", null, plain(kernel.short).split(/(?<==)/).flatMap((part, i) => i ? [el("wbr"), part] : [part]))), specOf(kernel) && specOf(kernel) !== kernel.short && el("span", { class: "sub" }, plain(specOf(kernel)))))))),
    tbody);
  drawMore(keep);
  byID("matrix").replaceChildren(table, ...(lines.length ? [] : [el("p", { class: "nothing" }, rows.length ? "Nothing fits. " : "Nothing ran. ")]), sentinel);
  if (focused && inMatrix) {
    const again = byID("matrix").querySelector('[data-key="' + focused + '"]');
    if (again) again.focus({ preventScroll: true });
  }
  const tab = byID("matrix").querySelector(".at") || byID("matrix").querySelector("tbody a, tbody button");
  if (tab) tab.tabIndex = 0;
}

// Lines far below are drawn when they come near.
const sentinel = el("div", { class: "sentinel" });
new IntersectionObserver(seen => {
  if (seen.some(s => s.isIntersecting)) drawMore(drawn + 2 * chunk);
}, { rootMargin: "1200px" }).observe(sentinel);

function drawMore(until) {
  const part = document.createDocumentFragment();
  for (; drawn < Math.min(until, lines.length); drawn++) part.append(drawLine(lines[drawn], drawn));
  tbody.append(part);
}

function drawLine(line, i) {
  const index = { "aria-rowindex": i + 2 };
  if (line.group !== undefined) {
    return el("tr", { class: "group", ...index }, el("th", { colspan: kernels.length + 1, scope: "rowgroup" }, plain(line.group || "other")));
  }
  const { row } = line;
  if (line.rest) {
    return el("tr", { class: "rest", ...index }, el("th", { colspan: kernels.length + 1 }, el("button", {
      type: "button", class: "quiet", "data-key": "m:" + row.number, "data-line": i, "data-column": -1, tabindex: "-1", onclick: () => {
        state.unfolded.add(row.number);
        drawMatrix();
      },
    }, number(line.rest) + " more of " + plain(row.name))));
  }
  if (line.s === undefined) {
    const open = isOpen(row);
    return el("tr", { class: "row", "aria-level": 1, "aria-expanded": row.subtests.length ? String(open) : undefined, ...index },
      el("th", { scope: "row" }, el("button", {
        type: "button", class: "twist" + (open ? " open" : ""), "data-key": "r:" + row.number, "data-line": i, "data-column": -1, tabindex: "-1", onclick: () => toggle(row),
      }, icon("twist"), el("bdi", null, plain(row.name)), " ", row.differs && el("span", { class: "tag" }, "differs"))),
      kernels.map((kernel, k) => el("td", null, rowCell(row, k, i))));
  }
  return el("tr", { class: "subtest", "aria-level": 2, ...index },
    el("th", { scope: "row" }, el("bdi", null, plain(subtestName(row, line.s)))),
    kernels.map((kernel, k) => el("td", null, subtestCell(row, line.s, k, i))));
}

function cellLink(place, i, letter, label, ...children) {
  return el("a", {
    href: link(place), class: "cell " + css(letter) + (samePlace(place, state.place) ? " at" : ""), "data-key": place.r + ":" + place.s + ":" + place.k,
    "data-line": i, "data-column": place.k, tabindex: "-1", "aria-label": label, "aria-current": samePlace(place, state.place) ? "true" : undefined,
  }, icon(letter), ...children);
}

function rowCell(row, k, i) {
  const place = { k, r: row.number, s: -1 };
  const s = row.standings[k], counts = row.counts[k];
  if (s === ".") return el("span", { class: "cell absent", "aria-label": "not there" }, icon("."));
  let main = "", extra = "";
  if (s === "F") main = number(counts.F) + "\u2009/\u2009" + number(total(counts));
  else if (row.idle[k]) main = total(counts) ? number(row.cells[k].not_run) + " not run" : "not run";
  else if (s === "E") main = number(counts.E) + "\u2009/\u2009" + number(total(counts));
  else if (s === "P") main = number((counts.P || 0) + (counts.U || 0) + (counts.R || 0));
  else main = statuses[s].say;
  if (row.idle[k] && total(counts)) extra = number((counts.P || 0) + (counts.U || 0) + (counts.R || 0)) + " passed";
  if (s === "P") extra = [counts.X && number(counts.X) + " known", counts.S && number(counts.S) + " skipped"].filter(x => x).join(", ");
  const shown = cellLink(place, i, s, kernels[k].short + ": " + statuses[s].word + ", " + summaryOf(row, k), el("span", { class: "main" }, main), extra && el("span", { class: "extra" }, extra));
  shown.classList.toggle("idle", row.idle[k]);
  return shown;
}

const total = counts => Object.values(counts).reduce((a, b) => a + b, 0);

function subtestCell(row, s, k, i) {
  const letter = letterOf(row, s, k);
  if (letter === ".") return el("span", { class: "cell absent", "aria-label": "not there" }, icon("."));
  const got = letter === "R" ? fact(row, s, k, "got") : "";
  return cellLink({ k, r: row.number, s }, i, letter, kernels[k].short + ": " + statuses[letter].word,
    el("span", { class: "main" }, got ? plain(got) : letter === "P" ? "" : statuses[letter].word),
    fact(row, s, k, "attempts") && el("span", { class: "extra" }, "flaky"));
}

function toggle(row, want) {
  state.open.set(row.number, want === undefined ? !isOpen(row) : want);
  drawMatrix();
}

// fit lets a matrix that is too wide for its place scroll by itself; the heads
// of one that is not stay at the top of the page.
function fit() {
  const narrow = innerWidth <= 700;
  const needed = kernels.length * (narrow ? 54 : 84) + (narrow ? 150 : 200);
  byID("matrix").classList.toggle("scrolls", needed > byID("matrix").clientWidth);
}

const lineOf = place => lines.findIndex(l => l.row && l.row.number === place.r && (l.s === undefined ? -1 : l.s) === place.s && !l.rest);

function cellAt(place) {
  return place.r < 0 ? null : byID("matrix").querySelector('[data-key="' + place.r + ":" + place.s + ":" + place.k + '"]');
}

function focusCell(place) {
  const cell = cellAt(place);
  if (cell) cell.focus({ preventScroll: true });
}

function scrollTo(place) {
  const cell = cellAt(place);
  // In the narrow layout the details cover what is below.
  if (cell) cell.scrollIntoView({ block: wide.matches ? "center" : "start", inline: "nearest" });
}

// ---- Details

function drawDetail() {
  const box = byID("detail"), place = state.place;
  document.body.classList.toggle("detailed", !!place);
  box.hidden = !place;
  if (!place) {
    box.replaceChildren();
    return;
  }
  box.replaceChildren(...(place.r < 0 ? kernelDetail(place) : place.s < 0 ? rowDetail(place) : subtestDetail(place)).flat(3).filter(x => x));
  box.scrollTop = 0;
}

function detailHead(place, crumbs, title, letter, word, status) {
  const copied = el("button", { type: "button", class: "chip copy", title: "Copy a link to this (c)", onclick: () => copyLink(copied) }, "Copy link");
  return el("header", null,
    el("div", { class: "bar" },
      el("p", { class: "crumbs" }, crumbs),
      copied,
      el("button", { type: "button", class: "quiet close", "aria-label": "Close", title: "Close (Esc)", onclick: () => close() }, icon("close"))),
    el("h2", null, el("bdi", null, plain(title))),
    el("p", { class: "state" }, letter ? el("span", { class: "badge " + css(letter) }, icon(letter), word) : el("span", { class: "badge w" + status }, word),
      place.r < 0 ? el("span", null, plain(kernels[place.k].line))
        : el("span", null, "on ", el("a", { href: link({ k: place.k, r: -1, s: -1 }) }, plain(kernels[place.k].name))), place.r >= 0 && age(place)));
}

function facts(pairs) {
  const some = pairs.filter(([, value]) => value);
  return some.length ? el("dl", { class: "facts" }, some.map(([name, value]) => [el("dt", null, name), el("dd", null, typeof value === "string" ? el("bdi", null, plain(value)) : value)])) : null;
}

function block(title, ...children) {
  return el("section", null, el("h3", null, title), children);
}

const pre = text => el("pre", { tabindex: "0" }, plain(text.replace(/\n+$/, "")));

function subtestDetail(place) {
  const row = rows[place.r], letter = letterOf(row, place.s, place.k);
  const get = field => fact(row, place.s, place.k, field);
  const attempts = get("attempts");
  const output = get("output");
  return [
    detailHead(place, [plain(row.group), el("span", { class: "sep" }, "›"), el("a", { href: link({ ...place, s: -1 }) }, plain(row.name))], subtestName(row, place.s), letter, statuses[letter].word),
    facts([
      ["Expected", get("expected")], ["Got", get("got")], ["Reason", get("reason")], ["Lacks", get("lacks")],
      ["Found", get("found") !== get("reason") ? get("found") : ""], ["Known from", get("by")], ["Reference", get("reference")],
      ["Attempts", attempts && el("span", { class: "marks" }, [...attempts].map(mark))],
    ]),
    elsewhere(place),
    output && block("Output", pre(output)),
    letter === "." ? null : recordsOf(place, letter !== "P"),
    trail(place),
  ];
}

// elsewhere is the same test on the other kernels.
function elsewhere(place) {
  if (kernels.length < 2) return null;
  const row = rows[place.r];
  return block("On each kernel", el("ul", { class: "elsewhere" }, kernels.map((kernel, k) => {
    const letter = place.s >= 0 ? letterOf(row, place.s, k) : row.standings[k];
    const why = place.s >= 0 ? fact(row, place.s, k, "reason") || fact(row, place.s, k, "lacks") : summaryOf(row, k);
    return el("li", { class: k === place.k ? "here" : "" }, mark(letter),
      el("a", { href: link({ ...place, k }), "aria-current": k === place.k ? "true" : undefined }, plain(kernel.short)), el("span", { class: "word" }, statuses[letter].word), why && el("span", { class: "reason" }, plain(why)));
  })));
}

// trail is how the same test went in the last runs.
function trail(place) {
  const letters = pastLetters(place), runs = kernels[place.k].past || [];
  if (!letters) return null;
  const now = place.s >= 0 ? letterOf(rows[place.r], place.s, place.k) : rows[place.r].standings[place.k];
  return block("The last runs", el("ol", { class: "trail" }, runs.map((run, i) => el("li", null, el(run.link ? "a" : "span", {
    href: run.link && run.link + link(place).replace(/kernel=[^&]*&?/, ""), class: "mark " + css(letters[i]), title: run.started + ", " + plain(run.release || "") + ": " + statuses[letters[i]].word,
  }, icon(letters[i])))), el("li", null, el("span", { class: "mark now " + css(now), title: "This run: " + statuses[now].word }, icon(now)))));
}

// recordsOf are what the kernel said while the specs of the place ran, and
// where all of it is.
function recordsOf(place, open) {
  const cell = rows[place.r].cells[place.k];
  if (!cell || !cell.runs) return null;
  const name = place.s >= 0 ? texts[rows[place.r].subtests[place.s]] : "";
  const runs = cell.runs.filter(run => place.s < 0 || !run.rest || name === run.rest || name.startsWith(run.rest + "/"));
  const out = [];
  const denials = runs.flatMap(run => run.denials || []).map(n => texts[n]);
  denials.sort((a, b) => telling(a) - telling(b));
  const more = runs.reduce((n, run) => n + (run.more || 0), 0);
  const crashes = runs.filter(run => run.crash).map(run => texts[run.crash]);
  for (const crash of new Set(crashes)) out.push(block("Crash", el("p", { class: "crash" }, plain(crash))));
  for (const run of runs) if (run.console) out.push(block("Console", pre(texts[run.console])));
  if (denials.length) {
    const shown = 12;
    const box = el("div", { class: "denials" }, denials.slice(0, shown).map((d, i) => denial(d, open && i === 0)));
    const rest = denials.length - shown;
    out.push(el("section", null, el("h3", null, "Denials", el("span", { class: "n" }, number(denials.length + more))),
      place.s >= 0 && el("p", { class: "hint" }, "Of all of " + plain(rows[place.r].name) + ": the kernel does not know of subtests."),
      box,
      rest > 0 && el("button", { type: "button", class: "quiet more", onclick: e => {
        box.append(...denials.slice(shown).map(d => denial(d, false)));
        e.target.remove();
      } }, number(rest) + " more"),
      more > 0 && el("p", { class: "hint" }, number(more) + " more are in the log.")));
  }
  const files = runs.flatMap(run => {
    const which = [run.rest, runs.length > 1 && run.attempt && "attempt " + run.attempt].filter(x => x).join(", ");
    return [run.output && el("a", { href: run.output }, "whole output" + (which ? " (" + which + ")" : "")), run.audit && el("a", { href: run.audit }, "all that AppArmor logged" + (which ? " (" + which + ")" : ""))];
  }).filter(x => x);
  if (files.length) out.push(block("Files", el("ul", { class: "files" }, files.map(f => el("li", null, f)))));
  return out;
}

// telling ranks records by how likely they explain a failure: those with an
// error of the kernel's own, then denials, then what would have been one.
function telling(record) {
  return record.includes(" error=") ? 0 : record.includes('="DENIED"') ? 1 : 2;
}

// denial is one audit record: in a line, then its fields, then as it was.
function denial(record, open) {
  const fields = [...record.matchAll(/([a-z_]+)=("[^"]*"|\S+)/gi)].map(m => [m[1], m[2].replace(/^"(.*)"$/, "$1")]);
  const get = name => (fields.find(f => f[0] === name) || [])[1];
  const target = get("name") || get("capname") || get("peer") || get("addr") || get("info") || "";
  return el("details", { class: "denial", open }, el("summary", null,
    el("b", null, get("apparmor") || "record"), " ", el("span", { class: "op" }, plain([get("operation"), get("denied_mask")].filter(x => x).join(" "))), " ", el("bdi", { class: "target" }, plain(target))),
  fields.length > 0 && el("dl", { class: "facts mono" }, fields.filter(([name]) => name !== "type" && name !== "audit" && name !== "msg").map(([name, value]) => [el("dt", null, plain(name)), el("dd", null, el("bdi", null, plain(value)))])),
  pre(record));
}

function rowDetail(place) {
  const row = rows[place.r], cell = row.cells[place.k], s = row.standings[place.k];
  if (!cell) return [detailHead(place, plain(row.group), row.name, ".", "not part of this run"), elsewhere(place)];
  const bad = row.subtests.map((_, i) => i).filter(i => !".P".includes(letterOf(row, i, place.k)));
  bad.sort((a, b) => order.indexOf(letterOf(row, a, place.k)) - order.indexOf(letterOf(row, b, place.k)));
  const attempts = (cell.runs || []).length;
  const machines = [...new Set((cell.runs || []).map(run => run.machine).filter(x => x))].join(", ");
  return [
    detailHead(place, plain(row.group), row.name, s, statuses[s].word),
    facts([["Subtests", summaryOf(row, place.k)], ["Time", cell.seconds ? elapsed(cell.seconds) : ""], ["Runs", attempts > 1 ? String(attempts) : ""], ["Machine", machines],
      ["Cut short", (cell.runs || []).some(run => run.cut) ? "it has no end" : ""], ["Not run", cell.not_run ? "it was planned and never started" : ""]]),
    elsewhere(place),
    bad.length > 0 && notPassed(place, bad),
    recordsOf(place, isBad(s)),
    trail(place),
  ];
}

function notPassed(place, subtests) {
  const row = rows[place.r], shown = 40;
  const item = s => {
    const letter = letterOf(row, s, place.k), reason = fact(row, s, place.k, "reason") || fact(row, s, place.k, "lacks");
    return el("li", null, el("span", { class: "marks" }, mark(letter)), el("span", { class: "what" }, el("a", { href: link({ ...place, s }) }, el("bdi", null, plain(subtestName(row, s)))), reason && el("span", { class: "reason" }, plain(reason))));
  };
  const ul = el("ul", { class: "places" }, subtests.slice(0, shown).map(item));
  const rest = subtests.length - shown;
  return el("section", null, el("h3", null, "Not a plain pass", el("span", { class: "n" }, number(subtests.length))), ul,
    rest > 0 && el("button", { type: "button", class: "quiet more", onclick: e => {
      ul.append(...subtests.slice(shown).map(item));
      e.target.remove();
    } }, number(rest) + " more"));
}

function kernelDetail(place) {
  const kernel = kernels[place.k];
  const properties = Object.entries(kernel.properties || {}).sort(([a], [b]) => a < b ? -1 : 1);
  const features = Object.entries(kernel.features || {}).sort(([a], [b]) => a < b ? -1 : 1);
  const differs = path => kernels.some(other => other.features && other.features[path] !== kernel.features[path]);
  return [
    detailHead(place, "kernel", kernel.name, "", kernel.word, kernel.status),
    facts([["Spec", kernel.spec], ["Version", kernel.version], ["Source", kernel.source], ["Appended", kernel.append], ["SHA-256", kernel.sha256],
      [kernel.noun[0].toUpperCase() + kernel.noun.slice(1) + "s", number(kernel.ran) + " of " + number(kernel.planned) + (kernel.seconds ? ", " + elapsed(kernel.seconds) + " together" : "")], ["Directory", kernel.id]]),
    properties.length > 0 && block("Machine and userspace", facts(properties)),
    kernel.past && block("The last runs", el("ul", { class: "runs" }, [...kernel.past].reverse().map(run => el("li", null,
      el("span", { class: "badge w" + run.status }, run.word), el(run.link ? "a" : "span", { href: run.link }, run.started), el("span", { class: "reason" }, plain((run.release || "") + ": " + run.line)))))),
    features.length > 0 && el("section", null, el("details", null, el("summary", null, el("h3", null, "AppArmor features", el("span", { class: "n" }, number(features.length)))),
      el("dl", { class: "facts mono features" }, features.map(([path, value]) => [el("dt", { class: differs(path) ? "differs" : "" }, plain(path)), el("dd", null, plain(value))])))),
  ];
}

function close() {
  const place = state.place;
  show(null);
  if (place) focusCell(place);
}

// ---- Copying

async function copyLink(button) {
  const text = location.href.replace(/#.*/, "") + link(state.place);
  let done = false;
  try {
    await navigator.clipboard.writeText(text);
    done = true;
  } catch {
    // Where a page from a file may not use the clipboard, the old way works.
    const field = el("textarea", { class: "out", readonly: true });
    field.value = text;
    document.body.append(field);
    field.select();
    done = document.execCommand("copy");
    field.remove();
  }
  say(done ? "Link copied" : "The link is in the address bar");
  if (button && done) {
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy link"; }, 1600);
  }
}

const toast = el("p", { id: "toast", role: "status" });
let toastEnds = 0;
function say(text) {
  toast.textContent = text;
  toast.classList.add("on");
  clearTimeout(toastEnds);
  toastEnds = setTimeout(() => toast.classList.remove("on"), 2400);
}

// ---- Keys and events

// failures are the places that n and p visit.
function failures() {
  const list = [], idle = [];
  for (const row of sorted) {
    for (const s of worstSubtests(row)) {
      for (let k = 0; k < kernels.length; k++) if (isBad(letterOf(row, s, k))) list.push({ k, r: row.number, s });
    }
    row.cells.forEach((cell, k) => {
      if (cell && cell.not_run) idle.push({ k, r: row.number, s: -1 });
    });
  }
  return [...list, ...idle];
}

function step(by) {
  const list = failures();
  if (!list.length) {
    say("Nothing failed");
    return;
  }
  const at = list.findIndex(p => samePlace(p, state.place));
  const next = at < 0 ? (by > 0 ? 0 : list.length - 1) : (at + by + list.length) % list.length;
  show(list[next], { scroll: true, focus: "cell" });
}

function move(from, dLine, dColumn) {
  let line = Number(from.dataset.line), column = Number(from.dataset.column);
  if (dColumn) column = Math.max(-1, Math.min(kernels.length - 1, column + dColumn));
  for (let i = 0; i < 4000; i++) {
    line += dLine;
    if (line >= drawn) drawMore(line + chunk);
    const target = find(line, column);
    if (target) {
      from.tabIndex = -1;
      target.tabIndex = 0;
      target.focus();
      target.scrollIntoView({ block: "nearest", inline: "nearest" });
      // Where details are shown, they follow.
      if (state.place && target.classList.contains("cell") && wide.matches) {
        const [r, s, k] = target.dataset.key.split(":").map(Number);
        show({ k, r, s });
      }
      return;
    }
    if (!dLine || line < -1 || line >= lines.length) return;
  }
}

// find is what can be focused in a line, in the column or, where that has
// nothing (the name of a subtest, a cell that is not there), near it.
function find(line, column) {
  const all = byID("matrix").querySelectorAll('[data-line="' + line + '"]');
  let best = null;
  for (const e of all) {
    const far = Math.abs(Number(e.dataset.column) - column);
    if (!best || far < Math.abs(Number(best.dataset.column) - column)) best = e;
  }
  return best;
}

const wide = matchMedia("(min-width: 1080px)");

function onKey(e) {
  if (e.ctrlKey || e.metaKey || e.altKey || byID("help").open) return;
  const typing = e.target.closest("input, textarea");
  if (e.key === "Escape") {
    if (typing) {
      if (state.q) {
        byID("q").value = state.q = "";
        filter();
      }
      typing.blur();
    } else if (state.place) close();
    else if (filtered()) {
      clearFilters();
      filter();
    }
    return;
  }
  if (typing) {
    if (e.key === "Enter" || e.key === "ArrowDown") {
      const first = byID("matrix").querySelector("tbody [data-line]");
      if (first) first.focus();
      e.preventDefault();
    }
    return;
  }
  const cell = e.target.closest("#matrix [data-line]");
  if (cell && e.key.startsWith("Arrow")) {
    const twist = cell.classList.contains("twist") ? rows[Number(cell.dataset.key.slice(2))] : null;
    if (e.key === "ArrowDown") move(cell, 1, 0);
    if (e.key === "ArrowUp") move(cell, -1, 0);
    if (e.key === "ArrowRight") twist && !isOpen(twist) && twist.subtests.length ? toggle(twist, true) : move(cell, 0, 1);
    if (e.key === "ArrowLeft") twist ? isOpen(twist) && toggle(twist, false) : move(cell, 0, -1);
    e.preventDefault();
    return;
  }
  const keys = {
    "/": () => {
      byID("q").focus();
      byID("q").select();
    },
    d: () => kernels.length > 1 && byID("differs").click(),
    n: () => step(1),
    p: () => step(-1),
    c: () => state.place && copyLink(),
    "?": () => byID("help").showModal(),
  };
  if (keys[e.key]) {
    keys[e.key]();
    e.preventDefault();
  }
}

// Links to places change the page without a jump.
function onClick(e) {
  const a = e.target.closest && e.target.closest('a[href^="#"]');
  if (!a || e.ctrlKey || e.metaKey || e.shiftKey || e.button) return;
  e.preventDefault();
  const params = new URLSearchParams(a.getAttribute("href").slice(1));
  const place = placeOf(params.get("kernel"), params.get("test"));
  if (!place) return;
  const inMatrix = byID("matrix").contains(a);
  const byKey = e.detail === 0;
  show(place, { scroll: !inMatrix, focus: byKey || !wide.matches ? "detail" : inMatrix ? "cell" : "" });
}

function theme() {
  const key = "proofhouse-theme";
  const set = name => {
    if (name) document.documentElement.dataset.theme = name;
  };
  try {
    set(localStorage.getItem(key));
  } catch { /* a page from a file may have no storage */ }
  byID("theme").addEventListener("click", () => {
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark" ||
      !document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches;
    set(dark ? "light" : "dark");
    try {
      localStorage.setItem(key, dark ? "light" : "dark");
    } catch { /* it holds for this page, then */ }
  });
}

function start() {
  document.body.append(toast);
  document.documentElement.classList.add("live");
  for (const id of ["tools", "theme", "help-button"]) byID(id).hidden = false;
  theme();
  readAddress();
  drawKernels();
  drawSummary();
  drawTools();
  fit();
  drawMatrix();
  show(state.place, { scroll: true });

  let typing = 0;
  byID("q").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      state.q = byID("q").value.trim();
      filter();
    }, 80);
  });
  byID("differs").addEventListener("click", () => {
    state.differs = !state.differs;
    filter();
  });
  byID("reset").addEventListener("click", () => {
    clearFilters();
    filter();
  });
  byID("help-button").addEventListener("click", () => byID("help").showModal());
  byID("help-close").addEventListener("click", () => byID("help").close());
  document.addEventListener("keydown", onKey);
  document.addEventListener("click", onClick);
  const again = () => {
    if (location.hash === own) return;
    own = location.hash;
    readAddress();
    drawTools();
    drawMatrix();
    show(state.place, { scroll: true });
  };
  addEventListener("popstate", again);
  addEventListener("hashchange", again);
  addEventListener("resize", fit);
  // The browser's own search finds what is drawn, and paper cannot scroll.
  setTimeout(() => drawMore(600), 300);
  addEventListener("beforeprint", () => drawMore(Infinity));
  // What sticks below the tools needs their height: they can take two lines.
  new ResizeObserver(() => document.documentElement.style.setProperty("--tools", byID("tools").offsetHeight + "px")).observe(byID("tools"));
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}

start();
