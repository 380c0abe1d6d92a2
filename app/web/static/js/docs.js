await new Promise((resolve, reject) => {
  const script = document.createElement("script");
  const src = new URL("../swagger/swagger-ui-bundle.js", import.meta.url).href;
  Object.assign(script, { src, onload: resolve, onerror: reject });
  document.head.append(script);
});

// It knows dark by a class alone.
const dark = matchMedia("(prefers-color-scheme: dark)");
const dress = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", dress);
dress();

window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null,
});
