// The uploads of this browser, in its local storage: their ids, and the tokens that can delete them.
// Read anew before each change, for another tab may have written meanwhile.

const KEY = "spillway.uploads";
const MAX_ENTRIES = 100;

export function entries() {
  try {
    const list = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(list) ? list.filter((entry) => typeof entry?.id === "string") : [];
  } catch {
    return [];
  }
}

function store(list) {
  try {
    localStorage.setItem(KEY, JSON.stringify(list.slice(0, MAX_ENTRIES)));
  } catch {
    // Storage is full or forbidden: the page still works, but forgets its photos on reload.
  }
}

export function remember({ id, token, name }) {
  store([{ id, token, name }, ...entries().filter((entry) => entry.id !== id)]);
}

export function forget(id) {
  store(entries().filter((entry) => entry.id !== id));
}
