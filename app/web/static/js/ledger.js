// What was uploaded in this browser: the id to find it by and the token to delete it with.
// Read anew before each change, for another tab may have written meanwhile.

const KEY = "spillway.uploads";
const MOST = 100;

export function entries() {
  try {
    const list = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(list) ? list.filter((entry) => typeof entry?.id === "string") : [];
  } catch {
    return [];
  }
}

function keep(list) {
  try {
    localStorage.setItem(KEY, JSON.stringify(list.slice(0, MOST)));
  } catch {
    // Storage is full or forbidden: the page still works, it only forgets on reload.
  }
}

export function remember({ id, token, name }) {
  keep([{ id, token, name }, ...entries().filter((entry) => entry.id !== id)]);
}

export function forget(id) {
  keep(entries().filter((entry) => entry.id !== id));
}
