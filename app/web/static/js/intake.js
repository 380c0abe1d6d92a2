// The three ways in: choose, drop anywhere on the page, paste.

export function openIntake(form, take) {
  const input = form.querySelector("input");
  input.multiple = true;
  form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });

  const carries = (event) => event.dataTransfer?.types.includes("Files");
  let depth = 0;
  const enter = (event, step) => {
    if (!carries(event)) return;
    depth = Math.max(0, depth + step);
    form.classList.toggle("over", depth > 0);
  };
  document.addEventListener("dragenter", (event) => enter(event, 1));
  document.addEventListener("dragleave", (event) => enter(event, -1));
  document.addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!carries(event)) return;
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
