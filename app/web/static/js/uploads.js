// The uploads of this browser, in its local storage: their ids, the tokens that can delete them, and the documents of
// those that have ended, so that a reload shows them without a question to the server.
// Read anew before each change, for another tab may have written meanwhile.

const KEY = "spillway.uploads";
const MAX_ENTRIES = 300;

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

export function remember(photo) {
  const { id, token, name } = photo;
  store([{ id, token, name }, ...entries().filter((entry) => entry.id !== id)]);
  update(photo);
}

export function update({ id, job, ended }) {
  if (!id || !ended || !job) return;
  const list = entries();
  const entry = list.find((each) => each.id === id);
  if (!entry || (entry.job?.status === job.status && entry.job.deferred?.length === job.deferred?.length)) return;
  entry.job = job;
  store(list);
}

export function forget(id) {
  store(entries().filter((entry) => entry.id !== id));
}
