"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent || "null");

  const element = (tag, text, ...children) => {
    const made = document.createElement(tag);
    if (text !== undefined && text !== null) made.textContent = text;
    made.append(...children);
    return made;
  };

  // Sorting. Rows without a number come last in both orders; a third press brings the paper's order back.
  const value = (row, column) => {
    const cell = row.cells[column];
    if (cell.classList.contains("number")) return cell.dataset.sort === undefined ? null : Number(cell.dataset.sort);
    return cell.textContent.trim().toLocaleLowerCase();
  };
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
  const repeatTypes = (table) => {
    let before = null;
    for (const row of table.tBodies[0].rows) {
      const cell = row.querySelector(".type");
      if (!cell || row.hidden) continue;
      cell.classList.toggle("again", cell.textContent === before);
      before = cell.textContent;
    }
  };
  const sort = (table, button) => {
    const heading = button.closest("th");
    const next = { none: "ascending", ascending: "descending", descending: "none" }[heading.getAttribute("aria-sort")];
    table.querySelectorAll("[aria-sort]").forEach((other) => other.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", next);
    const column = Number(button.dataset.column);
    const sign = next === "descending" ? -1 : 1;
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, value: value(row, column), at: Number(row.dataset.at) }));
    rows.sort((a, b) => {
      if (next === "none") return a.at - b.at;
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || a.at - b.at;
      return sign * compare(a.value, b.value) || a.at - b.at;
    });
    table.tBodies[0].append(...rows.map((one) => one.row));
    repeatTypes(table);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tBodies[0].rows].forEach((row, at) => (row.dataset.at = at));
    table.querySelectorAll(".sort").forEach((button) => button.addEventListener("click", () => sort(table, button)));
    repeatTypes(table);
  }

  // Filtering.
  for (const controls of document.querySelectorAll(".controls")) {
    const table = document.getElementById(controls.dataset.for);
    const find = controls.querySelector(".find");
    const group = controls.querySelector(".group");
    const only = controls.querySelector(".only");
    const count = controls.querySelector(".count");
    const apply = () => {
      const words = find.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
      const rows = [...table.tBodies[0].rows];
      for (const row of rows) {
        const text = row.textContent.toLocaleLowerCase();
        row.hidden =
          !words.every((word) => text.includes(word)) ||
          (group !== null && group.value !== "" && row.dataset.group !== group.value) ||
          (only !== null && only.checked && row.dataset.only === undefined);
      }
      const shown = rows.filter((row) => !row.hidden).length;
      const all = `${rows.length} row${rows.length === 1 ? "" : "s"}`;
      count.textContent = shown === rows.length ? all : `${shown} of ${all}`;
      repeatTypes(table);
    };
    [find, group, only].forEach((control) => control && control.addEventListener("input", apply));
    controls.hidden = false;
    apply();
  }

  // Provenance.
  const list = (facts) => {
    const found = element("dl");
    for (const [name, fact] of Object.entries(facts)) {
      if (fact === null || fact === undefined || fact === "" || (typeof fact === "object" && !Object.keys(fact).length)) continue;
      const plain = typeof fact !== "object" || (Array.isArray(fact) && fact.every((part) => typeof part !== "object"));
      const shown = element("dd");
      shown.append(plain ? (Array.isArray(fact) ? fact.join(", ") : String(fact)) : list(fact));
      found.append(element("div", null, element("dt", name), shown));
    }
    return found;
  };
  const fold = (title, ...content) => element("details", null, element("summary", title), ...content);
  const seconds = (timings) => Object.fromEntries(Object.entries(timings || {}).map(([name, time]) => [name, `${time} s`]));
  const mebibytes = (memory) => Object.fromEntries(Object.entries(memory || {}).map(([name, size]) => [name, `${Math.round(size / 1048576)} MiB`]));
  const record = (key, metric) => {
    const held = data.records[key];
    if (!held) return element("p", `${key}: not among the records of this page`);
    const own = held.metrics && held.metrics[metric];
    const measured = own ? (own.value === undefined ? own.reason : `${own.value}${own.unit ? ` ${own.unit}` : ""}`) : held.status;
    const ingredients = Object.fromEntries(Object.entries(held.ingredients || {}).map(([name, at]) => [name, data.pool[at]]));
    const others = Object.fromEntries(
      Object.entries(held.metrics || {}).map(([name, one]) => [name, one.value === undefined ? `absent: ${one.reason}` : one.value]),
    );
    const parts = [
      list({
        key,
        case: held.case,
        seed: held.seed,
        status: held.status,
        finished: held.created,
        failure: held.failure,
        timings: seconds(held.timings),
        memory: mebibytes(held.memory),
        kernels: held.kernels,
        artefacts: held.artefacts,
        environment: held.environment,
      }),
    ];
    if (own) {
      const facts = { n: own.n, version: own.version, "real against real": own.floor };
      if (own.details !== undefined) facts.details = data.pool[own.details];
      parts.push(fold(metric, list(facts)));
    }
    if (Object.keys(others).length > 1) parts.push(fold("All its numbers", list(others)));
    parts.push(fold("Ingredients of its key", list(ingredients)));
    if (held.log) parts.push(fold("Log", list(held.log)));
    if (data.environments[held.environment]) parts.push(fold("Environment", list(data.environments[held.environment])));
    for (const need of held.needs || []) parts.push(record(need, metric));
    const title = held.stage === "fit" ? `fit, repetition ${held.repetition}` : `repetition ${held.repetition}: ${measured}`;
    const shown = fold(title, ...parts);
    shown.dataset.key = key;
    return shown;
  };
  // Where, when and with what the records were made, said once where they agree.
  const origin = (keys) => {
    const found = keys.map((key) => data.records[key]).filter(Boolean);
    const facts = found.map((held) => data.environments[held.environment]).filter(Boolean);
    const once = (values) => [...new Set(values.filter(Boolean))].join("; ");
    const commit = ({ software }) => software && software.commit && software.commit.id && `commit ${software.commit.id.slice(0, 12)}${software.commit.dirty ? ", with changes" : ""}`;
    const packages = ({ software }) => {
      const named = ["torch", "numpy"].map((name) => software && software.packages && typeof software.packages[name] === "string" && `${name} ${software.packages[name]}`);
      return [software && software.python, ...named].filter(Boolean).join(", ");
    };
    return {
      Machine: once(facts.map(({ hardware }) => hardware && hardware.cpu && `${hardware.cpu}${hardware.cores ? `, ${hardware.cores} cores` : ""}`)),
      Software: once(facts.map(packages)),
      Code: once(facts.map(commit)),
      Finished: once(found.map((held) => (held.created || "").slice(0, 10))),
    };
  };
  const dialog = document.getElementById("detail");
  const open = (identity) => {
    const cell = data.cells[identity];
    history.replaceState(null, "", `#${identity}`);
    const body = document.getElementById("detail-body");
    document.getElementById("detail-title").textContent = cell.title;
    body.replaceChildren(list({ ...cell.facts, ...origin(cell.records) }));
    if (cell.compare) body.append(element("p", null, Object.assign(element("a", "Compare it with another row or version"), { href: `compare.html#${cell.compare}` })));
    if (cell.records.length) body.append(element("h3", `${cell.records.length === 1 ? "The record" : `The ${cell.records.length} records`} behind it`), ...cell.records.map((key) => record(key, cell.metric)));
    const link = Object.assign(element("a", location.href), { href: location.href });
    body.append(element("h3", "Link to it"), element("p", null, link));
    if (cell.command) body.append(element("h3", "On the command line"), element("pre", cell.command));
    dialog.showModal();
    dialog.scrollTop = 0;
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-opens]");
    if (button) open(button.dataset.opens);
    else if (event.target === dialog) dialog.close();
  });

  // A link to a claim, a table or a cell shows it, whatever the filters say; one to a cell opens what is behind it.
  const reveal = () => {
    const identity = decodeURIComponent(location.hash.slice(1));
    const found = identity && document.getElementById(identity);
    if (!found) return;
    const row = found.closest("tr");
    if (row) row.hidden = false;
    found.scrollIntoView({ block: "center" });
    if (identity.startsWith("cell-") && data.cells[identity]) open(identity);
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
