// navigator.clipboard exists in secure contexts only; plain HTTP in a home network is not one.
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = Object.assign(document.createElement("textarea"), { value: text });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function copies(button, text) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await copy(text());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    button.focus();
    setTimeout(() => (button.textContent = label), 1600);
  });
}
