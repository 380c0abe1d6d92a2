import { at } from "./address.js";

await new Promise((resolve, reject) => {
  const script = document.createElement("script");
  const src = new URL("../swagger/swagger-ui-bundle.js", import.meta.url).href;
  Object.assign(script, { src, onload: resolve, onerror: reject });
  document.head.append(script);
});

// Swagger UI takes its dark scheme from a class, not from the media query.
const dark = matchMedia("(prefers-color-scheme: dark)");
const applyScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", applyScheme);
applyScheme();

window.SwaggerUIBundle({
  url: at("openapi.json"),
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null,
});
