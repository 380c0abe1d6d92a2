// What this browser remembers, in a database of its own: the photos that it has uploaded, with the tokens that can delete
// them. Without the database, as in some private windows, nothing is remembered and everything else works.

const MAX_UPLOADS = 10_000;
const OLD_KEY = "spillway.uploads"; // where earlier versions of this page kept them

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

const opened = (async () => {
  try {
    const request = indexedDB.open("spillway", 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("uploads", { keyPath: "id" }).createIndex("order", "order");
    };
    const database = await done(request);
    await adoptOld(database);
    return database;
  } catch {
    return null;
  }
})();

async function adoptOld(database) {
  let old = [];
  try {
    old = JSON.parse(localStorage.getItem(OLD_KEY) ?? "[]").filter((entry) => typeof entry?.id === "string");
  } catch {
    // What is there is none of ours.
  }
  const now = Date.now();
  const uploads = database.transaction("uploads", "readwrite").objectStore("uploads");
  await Promise.all(old.map((entry, index) => done(uploads.put({ ...entry, order: now - index }))));
  localStorage.removeItem(OLD_KEY);
}

// Runs `use` with the uploads of the database; what it gives, or `otherwise` if that fails or there is none.
async function within(mode, use, otherwise) {
  try {
    const database = await opened;
    return database ? await use(database.transaction("uploads", mode).objectStore("uploads")) : otherwise;
  } catch {
    return otherwise; // it is full, forbidden or closed
  }
}

const change = (use) => within("readwrite", use, undefined);

export function remember({ id, token, name, order, size, job, ended }) {
  return change(async (uploads) => {
    await done(uploads.put({ id, token, name, order, size, job: ended ? job : undefined }));
    if ((await done(uploads.count())) > MAX_UPLOADS) {
      const oldest = await done(uploads.index("order").openKeyCursor());
      await done(uploads.delete(oldest.primaryKey));
    }
  });
}

export const forget = (id) => change((uploads) => done(uploads.delete(id)));

// At most `count` uploads that are older than the one with this order, the newest first.
export function page(before, count) {
  return within("readonly", (uploads) => new Promise((resolve, reject) => {
    const found = [];
    const cursors = uploads.index("order").openCursor(IDBKeyRange.upperBound(before, true), "prev");
    cursors.onerror = () => reject(cursors.error);
    cursors.onsuccess = () => {
      const cursor = cursors.result;
      if (cursor) found.push(cursor.value);
      if (cursor && found.length < count) cursor.continue();
      else resolve(found);
    };
  }), []);
}
