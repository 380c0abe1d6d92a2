// The ways to add photos: choose them, take one, drop files and folders anywhere on the page, paste them.

export function listenForFiles(form, take) {
  const inputs = [...form.querySelectorAll("input[type=file]")];
  inputs[0].multiple = true;
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const input of inputs) {
    input.addEventListener("change", () => {
      take([...input.files]);
      input.value = "";
    });
  }

  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  // Both events fire for nested elements too: inside while there were more of the first.
  let depth = 0;
  const enter = (event, step) => {
    if (!hasFiles(event)) return;
    depth = Math.max(0, depth + step);
    document.body.classList.toggle("over", depth > 0);
  };
  document.addEventListener("dragenter", (event) => enter(event, 1));
  document.addEventListener("dragleave", (event) => enter(event, -1));
  document.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  document.addEventListener("drop", async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    document.body.classList.remove("over");
    take(await dropped(event.dataTransfer));
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(files);
  });
}

// The files that were dropped, and those of folders, in the order of their names. The entries have to be asked for before
// the first wait, because the browser empties the list after the event.
async function dropped(transfer) {
  const files = [...transfer.files];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
  if (!entries.some((entry) => entry?.isDirectory)) return files;
  const found = await Promise.all(entries.map((entry, index) => (entry ? within(entry) : [files[index]])));
  return found.flat();
}

async function within(entry) {
  if (entry.isFile) return entry.name.startsWith(".") ? [] : [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const children = [];
  let some;
  do {
    some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
    children.push(...some);
  } while (some.length);
  const sorted = children.toSorted((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  return (await Promise.all(sorted.map(within))).flat();
}
