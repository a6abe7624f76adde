// Text of times, durations and money, and small pieces of the document.

export const byId = (id) => document.getElementById(id);

/** An element with classes, properties and children. */
export function el(tag, properties = {}, ...children) {
  const { className, data, ...rest } = properties;
  const element = document.createElement(tag);
  if (className) element.className = className;
  Object.assign(element.dataset, data);
  Object.assign(element, rest);
  element.append(...children);
  return element;
}

/** Set text only where it differs: screen readers and selections are not disturbed. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Make the children of `parent` those of `items`, in order. An element stays the same for the same
 * key, so the focus stays too.
 */
export function reconcile(parent, items, keyOf, create, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let element = known.get(key);
    if (element === undefined) {
      element = create(item);
      element.dataset.key = key;
    }
    known.delete(key);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
    update(element, item);
  }
  for (const gone of known.values()) gone.remove();
}

/** Run a function once before the next picture, however often it is asked for. */
export function once(work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      work();
    });
  };
}

/** Seconds of a file as 0:03 or 1:02:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const tail = two(whole % 60);
  return hours ? `${hours}:${two(minutes)}:${tail}` : `${minutes}:${tail}`;
}

/** A time of the day; `epoch` in seconds. */
export function timeOfDay(epoch) {
  return new Date(epoch * 1000).toLocaleTimeString([], { hourCycle: "h23" });
}

/** A duration as 320 ms or 2.45 s. */
export function duration(seconds) {
  if (seconds === undefined) return "–";
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`;
}

export function money(amount, currency) {
  return new Intl.NumberFormat("en", { style: "currency", currency }).format(amount);
}

export const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
