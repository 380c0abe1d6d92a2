// The three ways to add photos: choose them, drop them anywhere on the page, paste them.

export function listenForFiles(form, take) {
  const input = form.querySelector("input");
  input.multiple = true;
  form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });

  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  // Both events fire for nested elements too: inside while there were more of the first.
  let depth = 0;
  const enter = (event, step) => {
    if (!hasFiles(event)) return;
    depth = Math.max(0, depth + step);
    form.classList.toggle("over", depth > 0);
  };
  document.addEventListener("dragenter", (event) => enter(event, 1));
  document.addEventListener("dragleave", (event) => enter(event, -1));
  document.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    form.classList.remove("over");
    take([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(files);
  });
}
