// Strangers in groups: naming, ignoring, splitting, merging and forgetting them.

import { byId, el, once, plural, reconcile, setText, timeOfDay } from "./format.js";
import { act, toast } from "./actions.js";

const KEYS = { n: "name", i: "ignore", s: "split", m: "merge", f: "forget" };
const LABELS = { name: "Name", ignore: "Ignore", split: "Split", forget: "Forget" };
const HELP =
  "Strangers are not kept. With --keep-strangers, facectl watch groups their faces on this " +
  "computer, so that they can be named here.";

function noneYet(faces) {
  if (!faces) return "No strangers so far.";
  const kept = faces === 1 ? "1 face is" : `${faces} faces are`;
  return (
    `No strangers so far: ${kept} kept. A stranger is listed with 3 good faces that look alike, ` +
    "taken at least half a second apart."
  );
}

export class StrangersView {
  constructor(page) {
    this.page = page;
    this.groups = [];
    this.chosen = new Set();
    this.visits = new Map();
    this.draw = once(() => this.render());
    byId("groups").addEventListener("keydown", (event) => this.key(event));
  }

  update({ kept, groups, ungrouped, names }) {
    this.groups = groups;
    this.visits = new Map(groups.flatMap((group) => group.visits.map((visit) => [visit, group])));
    setText(byId("strangers-empty"), kept ? noneYet(ungrouped) : HELP);
    byId("names").replaceChildren(...names.map((name) => el("option", { value: name })));
    this.draw();
  }

  groupOf(visit) {
    const known = this.visits.get(visit);
    if (known) return known;
    const id = this.page.visits.get(visit)?.stranger;
    return id ? { id, label: `Stranger ${id.replace(/^s-/, "")}` } : undefined;
  }

  render() {
    const ids = new Set(this.groups.map((group) => group.id));
    for (const id of this.chosen) if (!ids.has(id)) this.chosen.delete(id);
    byId("strangers-empty").hidden = this.groups.length > 0;
    byId("strangers-keys").hidden = this.groups.length === 0;
    setText(byId("strangers-count"), this.groups.length ? String(this.groups.length) : "");
    const had = document.activeElement?.closest?.(".group");
    const place = had ? [...byId("groups").children].indexOf(had) : -1;
    reconcile(
      byId("groups"),
      this.groups,
      (group) => group.id,
      (group) => this.make(group),
      (card, group) => this.updateCard(card, group),
    );
    // The focus stays in the list when the focused stranger was named.
    if (had && !had.isConnected) {
      const cards = byId("groups").children;
      (cards[Math.min(place, cards.length - 1)] ?? byId("strangers-title")).focus();
    }
  }

  make(group) {
    const buttons = Object.entries(LABELS).map(([action, label]) => {
      const button = el("button", { type: "button", className: "small", data: { action } }, label);
      button.setAttribute("aria-keyshortcuts", label[0]);
      button.addEventListener("click", () => this.start(action, group.id));
      return button;
    });
    const choose = el("input", { type: "checkbox" });
    choose.addEventListener("change", () => this.choose(group.id, choose.checked));
    const card = el(
      "div",
      { className: "group", tabIndex: -1 },
      el("div", { className: "faces" }),
      el(
        "div",
        { className: "about" },
        el("b"),
        el("span"),
        el("label", { className: "choose" }, choose, " Merge"),
      ),
      el("div", { className: "actions" }, ...buttons),
    );
    card.setAttribute("role", "group");
    return card;
  }

  updateCard(card, group) {
    const [faces, about] = card.children;
    reconcile(
      faces,
      group.best.slice(0, 5),
      (face) => face,
      (face) => el("img", { alt: "", src: `/stranger/${encodeURIComponent(face)}`, width: 52, height: 52 }),
      () => {},
    );
    const text = `${plural(group.faces, "face")}, ${plural(group.visits.length, "visit")}, ${timeOfDay(group.seen)}`;
    setText(about.children[0], group.label);
    setText(about.children[1], text);
    card.setAttribute("aria-label", `${group.label}, ${text}`);
    const choose = about.querySelector("input");
    choose.checked = this.chosen.has(group.id);
    about.querySelector("label").hidden = this.groups.length < 2;
    // One stop of the Tab key for the list; arrows move in it.
    const first = byId("groups").firstElementChild === card;
    card.tabIndex = first ? 0 : -1;
  }

  choose(id, chosen) {
    if (chosen) this.chosen.add(id);
    else this.chosen.delete(id);
    if (this.chosen.size > 1) {
      toast(`${this.chosen.size} strangers are chosen.`, "Merge", () => this.merge());
    }
  }

  key(event) {
    const card = event.target.closest(".group");
    const typing = event.target.matches("input:not([type=checkbox])");
    if (!card || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined) {
      const next = step > 0 ? card.nextElementSibling : card.previousElementSibling;
      next?.focus();
    } else if (KEYS[event.key.toLowerCase()]) {
      this.start(KEYS[event.key.toLowerCase()], card.dataset.key);
    } else {
      return;
    }
    event.preventDefault();
  }

  start(action, id) {
    const card = this.card(id);
    if (!card) return;
    if (action === "name") this.askName(card, id);
    else if (action === "forget") this.askForget(card, id);
    else if (action === "merge") this.toggle(id);
    else this.run(action, id, { group: id });
  }

  card(id) {
    return [...byId("groups").children].find((card) => card.dataset.key === id);
  }

  /** M chooses a stranger; with two or more, M on one of them merges. */
  toggle(id) {
    if (this.chosen.has(id) && this.chosen.size > 1) this.merge();
    else {
      this.choose(id, !this.chosen.has(id));
      this.draw();
    }
  }

  merge() {
    const groups = [...this.chosen];
    this.chosen.clear();
    this.run("merge", groups[0], { groups });
  }

  async run(action, id, given, quiet = false) {
    const card = this.card(id);
    card?.setAttribute("aria-busy", "true");
    const done = await act(action, given, quiet);
    card?.removeAttribute("aria-busy");
    return done;
  }

  askName(card, id) {
    if (card.querySelector(".naming")) {
      card.querySelector(".naming input").focus();
      return;
    }
    const input = el("input", { id: `name-${id}`, autocomplete: "off", maxLength: 200 });
    input.setAttribute("list", "names");
    const error = el("p", { className: "error" });
    error.setAttribute("role", "alert");
    const anyway = el("button", { type: "button", className: "small", hidden: true }, "Name anyway");
    const cancel = el("button", { type: "button", className: "small" }, "Cancel");
    const form = el(
      "form",
      { className: "naming" },
      el("label", { htmlFor: input.id }, "Name of this person"),
      input,
      el("button", { type: "submit", className: "small main" }, "Save"),
      cancel,
      anyway,
      error,
    );
    const close = () => {
      form.remove();
      card.focus();
    };
    const save = async (force) => {
      const name = input.value.trim();
      if (!name) {
        setText(error, "Enter a name.");
        input.focus();
        return;
      }
      const done = await this.run("name", id, { group: id, name, force }, true);
      if (done.error) {
        setText(error, done.error);
        anyway.hidden = !(done.hint ?? "").includes("--force");
        input.focus();
      } else {
        form.remove();
      }
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      save(false);
    });
    anyway.addEventListener("click", () => save(true));
    cancel.addEventListener("click", close);
    form.addEventListener("keydown", (event) => event.key === "Escape" && close());
    card.append(form);
    input.focus();
  }

  askForget(card, id) {
    const label = this.groups.find((group) => group.id === id)?.label ?? id;
    toast(`Delete the kept faces of ${label}? This can't be undone.`, "Forget", () =>
      this.run("forget", id, { group: id }),
    );
  }
}
