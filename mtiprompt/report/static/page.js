"use strict";

/**
 * A new element. Attributes that are functions listen to the event of their name; children are
 * elements or texts, and a text stays a text.
 */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** A box in which what is wider than the page scrolls. */
function scrolling(label, child) {
  return make("div", { class: "scroll", role: "region", "aria-label": label, tabindex: "0" }, child);
}

function makeTable(label, columns, rows) {
  const head = make("tr", {}, ...columns.map((one) => make("th", { scope: "col" }, one)));
  const lines = rows.map(([name, ...cells]) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, name),
      ...cells.map((cell) => make("td", {}, cell)),
    ),
  );
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines));
  return scrolling(label, table);
}

function makeNote(text) {
  return text ? [make("p", { class: "note" }, text)] : [];
}

const MAKERS = {
  text: (part) => part.paragraphs.map((one) => make("p", { class: "text" }, one)),
  table: (part) => [makeTable(part.heading, part.columns, part.rows), ...makeNote(part.note)],
  chart: (part) => [...makeChart(part), ...makeNote(part.note)],
  slots: (part, name) => makeSlots(part, name),
};

const MANY_PARTS = 5;

function makeSection(part, place) {
  const name = `part${place + 1}`;
  const heading = part.heading ? [make("h2", { id: `${name}-heading` }, part.heading)] : [];
  const labelled = part.heading ? { "aria-labelledby": `${name}-heading` } : {};
  const content = MAKERS[part.kind](part, name);
  return make("section", { id: name, tabindex: "-1", ...labelled }, ...heading, ...content);
}

/** Links to the parts; they leave the fragment of the address alone, which holds the filters. */
function makeContents(parts) {
  const headed = parts.flatMap((part, place) => (part.heading ? [[part.heading, place]] : []));
  if (headed.length < MANY_PARTS) return [];
  const links = headed.map(([heading, place]) => {
    const go = (event) => {
      event.preventDefault();
      const section = document.getElementById(`part${place + 1}`);
      section.scrollIntoView();
      section.focus({ preventScroll: true });
    };
    return make("li", {}, make("a", { href: `#part${place + 1}`, click: go }, heading));
  });
  return [make("nav", { "aria-label": "Contents" }, make("ol", {}, ...links))];
}

function makeHeader({ title, command, made }) {
  const header = make("header", {}, make("h1", {}, title));
  if (made) header.append(make("p", { class: "note" }, made));
  if (command) header.append(scrolling("Command line", make("code", {}, `$ ${command}`)));
  return header;
}
