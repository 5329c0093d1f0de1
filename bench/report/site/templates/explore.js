"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const element = (tag, text, ...children) => {
    const made = document.createElement(tag);
    if (text !== undefined && text !== null) made.textContent = text;
    made.append(...children);
    return made;
  };
  const drawing = (tag, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const number = (value) => (value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(3) : Number(value.toPrecision(Math.abs(value) < 1e5 ? 5 : 10)).toLocaleString("en", { maximumFractionDigits: 9 }));
  const fill = (select, options, chosen) => {
    select.replaceChildren(...options.map(([value, text]) => Object.assign(element("option", text), { value })));
    if (options.some(([value]) => value === chosen)) select.value = chosen;
  };
  const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const half = (values) => {
    if (values.length < 2 || !data.t[values.length]) return null;
    const middle = mean(values);
    const variance = values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1);
    return data.t[values.length] * Math.sqrt(variance / values.length);
  };
  const told = (values, exact) => {
    const width = exact ? null : half(values);
    if (!width) return number(mean(values));
    const places = 1 - Math.floor(Math.log10(width)); // two digits of the uncertainty, and the mean to the same place
    if (places > 6) return `${mean(values).toExponential(3)} ± ${width.toExponential(1)}`;
    const fixed = (value) => value.toLocaleString("en", { minimumFractionDigits: Math.max(places, 0), maximumFractionDigits: Math.max(places, 0) });
    return `${fixed(mean(values))} ± ${fixed(width)}`;
  };
  const sideOf = (name) => data.sides.find((side) => side.name === name);
  const chosen = (which) => ({ row: at(`row-${which}`).value, version: at(`version-${which}`).value });
  const held = (which) => {
    const { row, version } = chosen(which);
    return (sideOf(version) && sideOf(version).rows[row]) || { m: {}, c: {}, s: {} };
  };
  const named = (which) => {
    const { row, version } = chosen(which);
    return data.sides.length > 1 ? `${data.rows[row]} (${version})` : data.rows[row];
  };

  // Numbers.
  const numbers = () => {
    const a = held("a").m;
    const b = held("b").m;
    const rows = Object.entries(data.metrics).flatMap(([name, metric]) => {
      if (!a[name] && !b[name]) return [];
      const row = element("tr", null, element("th", metric.label, Object.assign(element("span", name), { className: "under" })));
      row.cells[0].scope = "row";
      for (const one of [a[name], b[name]]) row.append(Object.assign(element("td", one ? told(one.v, metric.exact) : "—"), { className: "number" }));
      const seeds = a[name] && b[name] ? a[name].r.filter((seed) => b[name].r.includes(seed)) : [];
      const gaps = seeds.map((seed) => b[name].v[b[name].r.indexOf(seed)] - a[name].v[a[name].r.indexOf(seed)]);
      row.append(Object.assign(element("td", gaps.length ? told(gaps, metric.exact) : "—"), { className: "number" }));
      row.append(element("td", gaps.length ? says(gaps, metric) : "not in both"));
      return [row];
    });
    at("numbers-table").tBodies[0].replaceChildren(...rows);
  };
  const says = (gaps, metric) => {
    const middle = mean(gaps);
    if (gaps.every((gap) => gap === 0)) return "equal at every seed";
    const width = metric.exact ? 0 : half(gaps);
    const seeds = `${gaps.length} seed${gaps.length === 1 ? "" : "s"}`;
    if (width === null) return "one seed: no interval";
    if (!metric.exact && Math.abs(middle) <= width) return `undecided over ${seeds}`;
    const more = middle > 0 ? "B is higher" : "B is lower";
    const better = metric.better === "none" ? "" : (metric.better === "higher") === middle > 0 ? ", better" : ", worse";
    return `${more}${better}${metric.exact ? "" : ` (${data.share} % interval, ${seeds})`}`;
  };

  // What the two are made of, where it differs.
  const declared = () => {
    const [a, b] = ["a", "b"].map((which) => data.declared[held(which).p] || {});
    const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
    const apart = names.filter((name) => a[name] !== b[name]);
    const equal = names.length - apart.length;
    at("declared-told").textContent = apart.length ? `${equal} other parameters are equal.` : names.length ? `All ${equal} parameters are equal.` : "Neither is known.";
    at("declared-scroll").hidden = !apart.length;
    const cell = (value) => element("td", value === undefined ? "—" : value);
    at("declared-table").tBodies[0].replaceChildren(...apart.map((name) => {
      const head = Object.assign(element("th", name), { scope: "row" });
      return element("tr", null, head, cell(a[name]), cell(b[name]));
    }));
  };

  // By sample: right or wrong is a digit a sample, everything else a number.
  const FILTERS = {
    differ: ["they disagree", (a, b) => a !== b],
    a: ["only A is right", (a, b) => a === "1" && b === "0"],
    b: ["only B is right", (a, b) => a === "0" && b === "1"],
    neither: ["both are wrong", (a, b) => a === "0" && b === "0"],
    both: ["both are right", (a, b) => a === "1" && b === "1"],
    all: ["all", () => true],
  };
  const SHARES = { apart: ["the 50 that differ most"], all: ["all"] };
  const PAGE = 100;
  let shown = PAGE;
  const mcnemar = (a, b) => {
    let first = 0;
    let second = 0;
    for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) a[i] === "1" ? first++ : second++;
    const n = first + second;
    let term = -n * Math.LN2;
    let tail = 0;
    for (let k = 0; k <= Math.min(first, second); k++) {
      tail += Math.exp(term);
      term += Math.log(n - k) - Math.log(k + 1);
    }
    return { first, second, p: n ? Math.min(1, 2 * tail) : 1 };
  };
  // Detections: annotated boxes, and what A and B found in the same images; found is a box of its class that overlaps by half.
  const SCENES = {
    differ: ["they disagree", (a, b) => a.hits.some((hit, i) => hit !== b.hits[i])],
    a: ["only A finds an object", (a, b) => a.hits.some((hit, i) => hit && !b.hits[i])],
    b: ["only B finds an object", (a, b) => b.hits.some((hit, i) => hit && !a.hits[i])],
    beside: ["a box that is no object", (a, b) => a.beside + b.beside > 0],
    all: ["all", () => true],
  };
  const overlap = (one, two) => {
    const side = (i) => Math.max(0, Math.min(one[i] + one[i + 2], two[i] + two[i + 2]) - Math.max(one[i], two[i]));
    const shared = side(0) * side(1);
    return shared / (one[2] * one[3] + two[2] * two[3] - shared);
  };
  const matched = (truth, found) => {
    const hits = truth.map(() => false);
    let beside = 0;
    for (const box of [...found].sort((one, two) => two[5] - one[5])) {
      const fits = truth.map((object, i) => (hits[i] || object[4] !== box[4] ? 0 : overlap(object, box)));
      const best = fits.indexOf(Math.max(...fits));
      if (best >= 0 && fits[best] >= 0.5) hits[best] = true;
      else beside += 1;
    }
    return { hits, beside, count: hits.filter(Boolean).length };
  };
  const scene = (exhibit, index, a, b) => {
    const [width, height] = exhibit.tile;
    const frame = pictured(exhibit, index, `image ${exhibit.ids[index]}`, 150 / width);
    frame.className = "scene";
    const over = drawing("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    for (const [which, boxes] of [["a", held("a").b[index]], ["b", held("b").b[index]], ["truth", exhibit.truth[index]]]) {
      for (const [x, y, w, h, kind, score] of boxes) {
        const box = drawing("rect", { class: `box ${which}`, x, y, width: w, height: h });
        box.append(drawing("title", {}, `${which === "truth" ? "annotated" : which.toUpperCase()}: ${kind}${score === undefined ? "" : ` ${score}`}`));
        over.append(box);
      }
    }
    frame.append(over);
    const says = (one) => `${one.count} of ${one.hits.length}${one.beside ? ` and ${one.beside} beside` : ""}`;
    return element("li", null, frame, Object.assign(element("span", `#${exhibit.ids[index]}: A ${says(a)}, B ${says(b)}`), { className: "under" }));
  };
  const scenes = (exhibit) => {
    const judged = exhibit.ids.map((_, i) => ["a", "b"].map((which) => matched(exhibit.truth[i], held(which).b[i])));
    fill(at("sample-filter"), Object.entries(SCENES).map(([key, [text]]) => [key, text]), at("sample-filter").value);
    const found = [...judged.keys()].filter((i) => SCENES[at("sample-filter").value][1](...judged[i]));
    const sum = (count) => judged.reduce((total, pair) => total + count(...pair), 0);
    at("sample-told").textContent = `Of ${sum((a) => a.hits.length)} annotated objects in ${judged.length} images A finds ${sum((a) => a.count)} and B ${sum((a, b) => b.count)} (same class, overlap of at least a half, scores from 0.25 on); boxes beside an object: A ${sum((a) => a.beside)}, B ${sum((a, b) => b.beside)}.`;
    at("sample-key").replaceChildren(key(["truth", "annotated"], ["a", `A: ${named("a")}`], ["b", `B: ${named("b")}`]));
    at("tiles").append(...found.slice(0, shown).map((i) => scene(exhibit, i, ...judged[i])));
    at("sample-count").textContent = `${found.length} of ${judged.length}`;
    at("more").hidden = found.length <= shown;
  };
  const exhibitOf = (row) => data.exhibits.find((exhibit) => exhibit.rows.includes(row));
  const pairs = () => {
    const a = held("a").s[at("sample-metric").value];
    const b = held("b").s[at("sample-metric").value];
    const seed = at("sample-seed").value;
    return a && b && a[seed] && b[seed] && a[seed].length === b[seed].length ? [a[seed], b[seed]] : null;
  };
  const pictured = (exhibit, index, label, times = 1) => {
    const picture = element("span");
    const [width, height] = exhibit.tile.map((side) => side * times);
    picture.className = "tile";
    picture.style.width = `${width}px`;
    picture.style.height = `${height}px`;
    picture.style.backgroundSize = `${exhibit.across * width}px auto`;
    picture.style.backgroundImage = `url("${exhibit.picture}")`;
    picture.style.backgroundPosition = `-${(index % exhibit.across) * width}px -${Math.floor(index / exhibit.across) * height}px`;
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", label);
    return picture;
  };
  const tile = (exhibit, index, text) => {
    const item = element("li");
    if (exhibit && exhibit.picture) item.append(pictured(exhibit, index, `sample ${index}`));
    if (exhibit && exhibit.texts) item.append(element("q", exhibit.texts[index]));
    const label = exhibit ? `, label ${exhibit.labels[index]}` : "";
    item.append(Object.assign(element("span", `#${index}${label}: ${text}`), { className: "under" }));
    return item;
  };
  const samples = () => {
    const two = pairs();
    const list = at("tiles");
    list.replaceChildren();
    at("more").hidden = true;
    at("sample-count").textContent = "";
    at("sample-key").replaceChildren();
    const drawn = exhibitOf(chosen("a").row);
    const boxed = Boolean(drawn && drawn.ids && drawn === exhibitOf(chosen("b").row) && held("a").b && held("b").b);
    for (const id of ["sample-metric", "sample-seed"]) at(id).parentElement.hidden = boxed;
    if (boxed) return scenes(drawn);
    if (!two) {
      at("sample-told").textContent = "These two have no values by sample in common on this page: choose rows on the same data.";
      return;
    }
    const [a, b] = two;
    const digits = typeof a === "string" && typeof b === "string";
    const keys = Object.entries(digits ? FILTERS : SHARES).map(([key, [text]]) => [key, text]);
    fill(at("sample-filter"), keys, at("sample-filter").value);
    const filter = at("sample-filter").value;
    let found = [...Array(a.length).keys()];
    if (digits) {
      found = found.filter((i) => FILTERS[filter][1](a[i], b[i]));
      const { first, second, p } = mcnemar(a, b);
      at("sample-told").textContent = `Of ${a.length} shared samples ${first} are right only in A and ${second} only in B: McNemar's exact p = ${number(Number(p.toPrecision(2)))}. It is about these two models, not about other seeds.`;
    } else {
      at("sample-told").textContent = `${a.length} shared samples, B − A ${number(mean(found.map((i) => b[i] - a[i])))} on average.`;
      if (filter === "apart") found = found.sort((i, j) => Math.abs(b[j] - a[j]) - Math.abs(b[i] - a[i])).slice(0, 50);
    }
    const one = exhibitOf(chosen("a").row);
    const exhibit = one && one === exhibitOf(chosen("b").row) && one.labels.length === a.length ? one : null;
    const word = (value) => (digits ? (value === "1" ? "right" : "wrong") : number(value));
    list.append(...found.slice(0, shown).map((i) => tile(exhibit, i, `A ${word(a[i])}, B ${word(b[i])}`)));
    at("sample-count").textContent = `${found.length} of ${a.length}`;
    at("more").hidden = found.length <= shown;
  };

  // What they left: pictures and sounds of each row's first seed that left any.
  const left = () => {
    for (const which of ["a", "b"]) {
      const { row, version } = chosen(which);
      const files = (data.files[version] || {})[row] || [];
      const figures = files.map((file) => {
        const shown = Object.assign(document.createElement(file.kind === "image" ? "img" : "audio"), { src: file.file });
        if (file.kind === "image") shown.alt = `${file.name} of ${named(which)}`;
        else shown.controls = true;
        return element("figure", null, shown, element("figcaption", `${file.name}, repetition ${file.repetition}`));
      });
      at(`left-${which}`).replaceChildren(element("h3", `${which.toUpperCase()}: ${named(which)}`), ...(figures.length ? figures : [element("p", "No picture and no sound.")]));
    }
  };

  // Drawings: axes with a few round ticks, and what is drawn in them.
  const ticks = (low, high, count = 4) => {
    const rough = (high - low) / count || Math.abs(low) / 4 || 1;
    const size = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((times) => times * size).find((one) => one >= rough);
    const found = [];
    for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) found.push(Number(value.toPrecision(12)));
    return found;
  };
  const axes = (xs, ys, xLabel, yLabel, places) => {
    const width = Math.max(280, Math.min(760, at("training-plot").clientWidth || 760)); // so that text keeps its size in a narrow window
    const [height, l, r, t, b] = [340, 76, 16, 12, 48];
    const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
    let [y0, y1] = [Math.min(...ys), Math.max(...ys)];
    const room = (y1 - y0) * 0.06 || Math.abs(y0) * 0.1 || 1;
    [y0, y1] = [y0 - room, y1 + room];
    const x = (value) => (x1 === x0 ? (l + width - r) / 2 : l + ((value - x0) / (x1 - x0)) * (width - l - r));
    const y = (value) => height - b - ((value - y0) / (y1 - y0)) * (height - t - b);
    const sheet = drawing("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${yLabel} against ${xLabel}` });
    for (const value of ticks(y0, y1)) {
      sheet.append(drawing("line", { class: "grid", x1: l, x2: width - r, y1: y(value), y2: y(value) }));
      sheet.append(drawing("text", { x: l - 6, y: y(value) + 4, "text-anchor": "end" }, number(value)));
    }
    for (const [value, text] of places || ticks(x0, x1, width < 500 ? 2 : 4).map((one) => [one, number(one)])) {
      sheet.append(drawing("text", { x: x(value), y: height - b + 16, "text-anchor": "middle" }, text));
    }
    sheet.append(drawing("text", { x: (l + width - r) / 2, y: height - 8, "text-anchor": "middle" }, xLabel));
    sheet.append(drawing("text", { transform: `translate(14 ${(t + height - b) / 2}) rotate(-90)`, "text-anchor": "middle" }, yLabel));
    return { sheet, x, y };
  };
  const key = (...items) => Object.assign(element("ul", null, ...items.map(([which, text]) => Object.assign(element("li", text), { className: which }))), { className: "key" });

  // Training: a thin line a seed.
  const training = () => {
    const quantity = at("quantity").value;
    const lines = ["a", "b"].flatMap((which) => (held(which).c[quantity] || []).map(([seed, counter, xs, ys]) => ({ which, seed, counter, xs, ys })));
    if (!lines.length) {
      at("training-plot").replaceChildren(element("p", "Neither row kept a log of this quantity."));
      return;
    }
    const { sheet, x, y } = axes(lines.flatMap((line) => line.xs), lines.flatMap((line) => line.ys), lines[0].counter === "epoch" ? "Epoch" : "Training step", capital(quantity));
    for (const line of lines) {
      const path = drawing("path", { class: `line ${line.which}`, d: line.xs.map((value, i) => `${i ? "L" : "M"}${x(value).toFixed(1)} ${y(line.ys[i]).toFixed(1)}`).join("") });
      path.append(drawing("title", {}, `${named(line.which)}, repetition ${line.seed}`));
      sheet.append(path);
    }
    at("training-plot").replaceChildren(key(["a", `A: ${named("a")}`], ["b", `B: ${named("b")}`]), sheet);
  };

  // History: both rows over all versions, the oldest first.
  const history = () => {
    const metric = at("history-metric").value;
    const order = [...data.sides].reverse().sort((p, q) => Number(p.name.slice(1)) - Number(q.name.slice(1)) || 0);
    const groups = order.flatMap((side, place) =>
      ["a", "b"].flatMap((which) => {
        const one = side.rows[chosen(which).row] && side.rows[chosen(which).row].m[metric];
        return one ? [{ which, place, values: one.v }] : [];
      }),
    );
    if (!metric || !groups.length) {
      at("history-plot").replaceChildren(element("p", "No version has this number."));
      return;
    }
    const places = order.map((side, place) => [place, side.when && (Math.min(at("history-plot").clientWidth || 760, 760) - 92) / order.length > 110 ? `${side.name} (${side.when})` : side.name]);
    const { sheet, x, y } = axes([-0.5, order.length - 0.5], groups.flatMap((group) => group.values), "Version", data.metrics[metric].label, places);
    for (const { which, place, values } of groups) {
      const middle = x(place + (which === "a" ? -0.1 : 0.1));
      sheet.append(drawing("line", { class: `bar ${which}`, x1: middle - 16, x2: middle + 16, y1: y(mean(values)), y2: y(mean(values)) }));
      for (const value of values) {
        const dot = drawing("circle", { class: `dot ${which}`, cx: middle, cy: y(value), r: 4 });
        dot.append(drawing("title", {}, `${order[place].name}: ${number(value)}`));
        sheet.append(dot);
      }
    }
    at("history-plot").replaceChildren(key(["a", `A: ${data.rows[chosen("a").row]}`], ["b", `B: ${data.rows[chosen("b").row]}`]), sheet);
  };

  // The address keeps what is chosen: #a=ROW@VERSION&b=ROW@VERSION&m=METRIC.
  const remember = () => {
    const words = ["a", "b"].map((which) => `${which}=${encodeURIComponent(`${chosen(which).row}@${chosen(which).version}`)}`);
    history_.replaceState(null, "", `#${words.join("&")}&m=${encodeURIComponent(at("history-metric").value)}`);
  };
  const history_ = window.history;
  const remembered = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const refresh = () => {
    const common = Object.keys(data.metrics).filter((name) => held("a").s[name] && held("b").s[name]);
    fill(at("sample-metric"), common.map((name) => [name, data.metrics[name].label]), at("sample-metric").value || remembered.m);
    seeds();
    const logged = [...new Set([...Object.keys(held("a").c), ...Object.keys(held("b").c)])];
    fill(at("quantity"), logged.map((name) => [name, capital(name)]), at("quantity").value || "loss");
    const known = Object.keys(data.metrics).filter((name) => held("a").m[name] || held("b").m[name]);
    fill(at("history-metric"), known.map((name) => [name, data.metrics[name].label]), at("history-metric").value || remembered.m);
    const gone = ["a", "b"].filter((which) => !sideOf(chosen(which).version).rows[chosen(which).row]);
    at("state").textContent = gone.map((which) => `${chosen(which).version} has no numbers of ${data.rows[chosen(which).row]}.`).join(" ");
    numbers();
    declared();
    samples();
    left();
    training();
    history();
    remember();
  };
  const seeds = () => {
    const metric = at("sample-metric").value;
    const [a, b] = [held("a").s[metric] || {}, held("b").s[metric] || {}];
    fill(at("sample-seed"), Object.keys(a).filter((seed) => b[seed]).map((seed) => [seed, `repetition ${seed}`]), at("sample-seed").value);
  };
  const rows = Object.keys(data.rows).filter((name) => data.sides.some((side) => side.rows[name]));
  if (!rows.length) {
    at("state").textContent = "No row of this suite was measured.";
    return;
  }
  // Without a choice in the address: the first two rows that have most in common, by sample above all.
  const first = data.sides[0].rows;
  const common = (one, two) => Object.keys(first[one].m).filter((name) => first[two].m[name]).length + 100 * Object.keys(first[one].s).filter((name) => first[two].s[name]).length;
  const start = rows.filter((name) => first[name]).flatMap((one, i, all) => all.slice(i + 1).map((two) => [one, two])).reduce((best, pair) => (best && common(...best) >= common(...pair) ? best : pair), null) || [rows[0], rows[0]];
  const versions = data.sides.map((side) => [side.name, side.when ? `${side.name}, ${side.when}` : side.name]);
  ["a", "b"].forEach((which, place) => {
    const [row, version] = (remembered[which] || "").split("@");
    fill(at(`row-${which}`), rows.map((name) => [name, data.rows[name]]), row || start[place]);
    fill(at(`version-${which}`), versions, version || versions[0][0]);
    for (const part of ["row", "version"]) at(`${part}-${which}`).addEventListener("change", () => { shown = PAGE; refresh(); });
  });
  at("swap").addEventListener("click", () => {
    const [a, b] = [chosen("a"), chosen("b")];
    [at("row-a").value, at("version-a").value, at("row-b").value, at("version-b").value] = [b.row, b.version, a.row, a.version];
    refresh();
  });
  at("sample-metric").addEventListener("change", () => { shown = PAGE; seeds(); samples(); });
  for (const id of ["sample-seed", "sample-filter"]) at(id).addEventListener("change", () => { shown = PAGE; samples(); });
  at("more").addEventListener("click", () => { shown += PAGE; samples(); });
  let narrow = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === narrow) return;
    narrow = window.innerWidth;
    training();
    history();
  });
  at("quantity").addEventListener("change", training);
  at("history-metric").addEventListener("change", () => { history(); remember(); });
  refresh();
})();
