const PAGE = 50;
const CHOICES = ["data", "arm", "task", "verdict"];
const SEARCHED = ["item", "answer", "gold", "reply"];
/** Promises of lists that are still being opened. */
const SLOTS = [];
const OLD_BROWSER =
  "The slots cannot be shown: this browser cannot open compressed data (DecompressionStream). A newer one can.";

async function unpack(packed) {
  const letters = atob(packed);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i); // far faster than from()
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function makeSlots(part, name) {
  const box = make("div", { class: "slots" });
  if (typeof DecompressionStream === "undefined") {
    box.append(make("p", { role: "alert" }, OLD_BROWSER));
  } else {
    SLOTS.push(unpack(part.packed).then((columns) => new SlotList(box, name, columns).start()));
  }
  return [box];
}

/** A list of slots. What is chosen is kept in the fragment of the address, after `name.`. */
class SlotList {
  constructor(box, name, columns) {
    this.box = box;
    this.name = name;
    this.columns = columns;
    this.size = columns.item.length;
    this.lowered = [];
    this.inputs = {};
  }

  start() {
    this.count = make("output", { class: "count" });
    this.only = make("span", { class: "only" });
    this.rows = make("tbody");
    this.pages = make("nav", { class: "pages", "aria-label": "Pages of slots" });
    this.dialog = make("dialog", { close: () => this.change({ slot: "" }) });
    this.box.replaceChildren(this.makeFilters(), this.makeList(), this.pages, this.dialog);
    addEventListener("hashchange", () => this.show());
    this.show();
  }

  // --- values ---------------------------------------------------------------------------------

  text(column, row) {
    return this.columns.texts[this.columns[column][row]];
  }

  /** The texts of a column, each once, in the order of their first coming. */
  values(column) {
    if (column === "verdict") return this.columns.verdicts;
    return [...new Set(this.columns[column])].map((place) => this.columns.texts[place]);
  }

  lower(place) {
    return (this.lowered[place] ??= this.columns.texts[place].toLowerCase());
  }

  /** The rows that the choices leave. Each text is looked through once, whoever has it. */
  find(chosen) {
    const { columns } = this;
    const same = [...CHOICES, "item"]
      .filter((name) => chosen[name] !== "")
      .map((name) => [columns[name], columns.texts.indexOf(chosen[name])]);
    const words = chosen.q.toLowerCase();
    const known = new Map();
    const has = (place) => {
      if (!known.has(place)) known.set(place, this.lower(place).includes(words));
      return known.get(place);
    };
    const found = [];
    for (let row = 0; row < this.size; row++) {
      if (!same.every(([column, place]) => column[row] === place)) continue;
      if (words && !SEARCHED.some((name) => has(columns[name][row]))) continue;
      found.push(row);
    }
    return found;
  }

  // --- the address ----------------------------------------------------------------------------

  read() {
    const given = new URLSearchParams(location.hash.slice(1));
    const get = (key) => given.get(`${this.name}.${key}`) ?? "";
    return Object.fromEntries([...CHOICES, "item", "q", "page", "slot"].map((key) => [key, get(key)]));
  }

  address(changes) {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const [key, value] of Object.entries(changes)) {
      if (value === "") given.delete(`${this.name}.${key}`);
      else given.set(`${this.name}.${key}`, value);
    }
    return `#${given}`;
  }

  change(changes) {
    history.replaceState(null, "", this.address(changes));
    this.show();
  }

  // --- what is seen ---------------------------------------------------------------------------

  makeFilters() {
    const box = make("div", { class: "filters" });
    for (const name of CHOICES) {
      const values = this.values(name);
      const options = values.map((value) => make("option", { value }, value));
      const change = (event) => this.change({ [name]: event.target.value, page: "" });
      const select = make("select", { name, change }, make("option", { value: "" }, "all"), ...options);
      this.inputs[name] = select;
      if (name !== "data" || values.length > 1) box.append(make("label", {}, name, select));
    }
    let timer;
    const input = (event) => {
      clearTimeout(timer);
      timer = setTimeout(() => this.change({ q: event.target.value, page: "" }), 150);
    };
    this.inputs.q = make("input", { type: "search", name: "q", placeholder: SEARCHED.join(", "), input });
    box.append(make("label", { class: "wide" }, "text in", this.inputs.q));
    box.append(this.count, this.only);
    return box;
  }

  makeList() {
    this.shown = ["verdict", "item", "task", "arm", "answer", "gold"];
    if (this.values("data").length > 1) this.shown.splice(3, 0, "data");
    const head = this.shown.map((name) => make("th", { scope: "col" }, name));
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), this.rows);
    return scrolling("Slots", table);
  }

  show() {
    const chosen = this.read();
    for (const [name, input] of Object.entries(this.inputs)) {
      if (input.value !== chosen[name]) input.value = chosen[name];
    }
    const found = this.find(chosen);
    const last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
    const page = Math.min(last, Math.max(0, (parseInt(chosen.page, 10) || 1) - 1));
    this.count.textContent = `${found.length} of ${this.size}`;
    this.showOnly(chosen.item);
    this.rows.replaceChildren(
      ...found.slice(page * PAGE, (page + 1) * PAGE).map((row) => this.makeRow(row)),
    );
    this.showPages(page, last);
    this.showSlot(chosen.slot === "" ? -1 : Number(chosen.slot), found);
  }

  showOnly(item) {
    const all = () => this.change({ item: "", page: "" });
    const button = () => make("button", { type: "button", click: all }, "all items");
    this.only.replaceChildren(...(item ? [`item ${item} `, button()] : []));
  }

  makeRow(row) {
    const open = () => this.change({ slot: String(row) });
    const cells = this.shown.map((name) => make("td", { class: name }, this.text(name, row)));
    cells[0].replaceChildren(this.makeVerdict(row));
    cells[1].replaceChildren(make("button", { type: "button", class: "open" }, this.text("item", row)));
    return make("tr", { click: open }, ...cells);
  }

  makeVerdict(row) {
    const score = this.columns.score[row];
    const verdict = this.text("verdict", row);
    const told = verdict === "part" && score !== null ? `${verdict} ${score.toFixed(2)}` : verdict;
    return make("span", { class: `verdict ${verdict}` }, told);
  }

  showPages(page, last) {
    if (!last) return this.pages.replaceChildren();
    const button = (told, to) => {
      const click = () => this.change({ page: to ? String(to + 1) : "" });
      const disabled = to < 0 || to > last ? "" : null;
      return make("button", { type: "button", click, disabled }, told);
    };
    const told = make("span", {}, `page ${page + 1} of ${last + 1}`);
    return this.pages.replaceChildren(button("previous", page - 1), told, button("next", page + 1));
  }

  showSlot(row, found) {
    if (!(row >= 0 && row < this.size)) {
      if (this.dialog.open) this.dialog.close();
      return;
    }
    this.dialog.replaceChildren(...this.makeSlot(row, found));
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
  }

  makeSlot(row, found) {
    const [item, task, arm, data, failure] = ["item", "task", "arm", "data", "failure"].map((name) =>
      this.text(name, row),
    );
    const pane = (heading, text) => make("div", {}, make("h4", {}, heading), make("pre", {}, text));
    const others = this.address({ ...this.nothing(), data, task, item });
    const messages = this.columns.prompts[this.columns.prompt[row]];
    return [
      this.makeSteps(row, found),
      make("h3", {}, `${item} · ${task}`),
      make("p", {}, this.makeVerdict(row), ` · ${arm} · ${data}`),
      make("div", { class: "beside" }, pane("answer", this.text("answer", row)), pane("gold", this.text("gold", row))),
      ...(failure ? [pane("failure", failure)] : []),
      make("p", {}, make("a", { href: others }, "the same item in the other arms")),
      pane("reply", this.text("reply", row)),
      ...messages.map(([role, text]) =>
        pane(`prompt: ${this.columns.texts[role]}`, this.columns.texts[text]),
      ),
    ];
  }

  makeSteps(row, found) {
    const place = found.indexOf(row);
    const button = (told, to) => {
      const click = () => this.change({ slot: String(to), page: String(Math.floor(found.indexOf(to) / PAGE) + 1) });
      return make("button", { type: "button", click, disabled: to === undefined ? "" : null }, told);
    };
    const close = make("button", { type: "button", class: "close", click: () => this.dialog.close() }, "close");
    const previous = button("previous", place < 0 ? undefined : found[place - 1]);
    return make("div", { class: "pages" }, previous, button("next", place < 0 ? undefined : found[place + 1]), close);
  }

  nothing() {
    return Object.fromEntries([...CHOICES, "item", "q", "page", "slot"].map((key) => [key, ""]));
  }
}
