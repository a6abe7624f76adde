// Sends the actions of the page, and shows their results.

import { byId, el, setText } from "./format.js";

let hiding;

/** Show a sentence, with a button where there is something to do about it. */
export function toast(sentence, label, work) {
  clearTimeout(hiding);
  const children = [el("span", {}, sentence)];
  if (label) {
    const button = el("button", { type: "button", className: "small" }, label);
    button.addEventListener("click", () => {
      byId("toast").replaceChildren();
      work();
    });
    children.push(button);
  }
  byId("toast").replaceChildren(el("div", {}, ...children));
  // Long enough to read it and to reach the button; not while the focus is in it.
  const hide = () => {
    if (byId("toast").matches(":focus-within, :hover")) hiding = setTimeout(hide, 4000);
    else byId("toast").replaceChildren();
  };
  hiding = setTimeout(hide, 12000);
}

/**
 * Send an action; returns {sentence}, or {error, hint} where it was refused, which `quiet` leaves
 * to the caller to show.
 */
export async function act(action, given, quiet = false) {
  let result;
  try {
    const answer = await fetch(`/actions/${action}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(given),
    });
    result = await answer.json();
  } catch {
    result = { error: "facectl watch does not answer." };
  }
  if (result.error) {
    if (!quiet) toast(result.error);
  } else if (action === "undo" || action === "forget") toast(result.sentence);
  else toast(result.sentence, "Undo", undo);
  return result;
}

export const undo = () => act("undo", {});

/** The dialog that corrects the person of a visit. */
export class Correction {
  constructor(page) {
    this.page = page;
    this.dialog = byId("correct");
    this.dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      const name = byId("correct-name").value.trim();
      if (name) this.save(name);
      else setText(byId("correct-error"), "Enter a name.");
    });
    byId("correct-not").addEventListener("click", () => this.save(null));
    byId("correct-cancel").addEventListener("click", () => this.dialog.close());
  }

  open(id) {
    const visit = this.page.visits.get(id);
    if (!visit) return;
    this.visit = id;
    const image = byId("correct-crop");
    image.hidden = !visit.crop;
    if (visit.crop) image.src = `/crop/${encodeURIComponent(id)}?${visit.crop}`;
    const known = visit.person !== null;
    setText(byId("correct-now"), known ? `Recognized as ${visit.person}` : "Not recognized");
    setText(byId("correct-not"), known ? `Not ${visit.person}` : "Not this person");
    byId("correct-not").hidden = !known;
    byId("correct-name").value = "";
    setText(byId("correct-error"), "");
    this.dialog.showModal();
    byId("correct-name").focus();
  }

  async save(person) {
    this.dialog.setAttribute("aria-busy", "true");
    const done = await act("correct", { visit: this.visit, person }, true);
    this.dialog.removeAttribute("aria-busy");
    if (done.error) setText(byId("correct-error"), done.error);
    else this.dialog.close();
  }
}
