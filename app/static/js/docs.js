await new Promise((resolve, reject) => {
  const script = document.createElement("script");
  const src = new URL("../swagger/swagger-ui-bundle.js", import.meta.url).href;
  Object.assign(script, { src, onload: resolve, onerror: reject });
  document.head.append(script);
});

window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null,
});
