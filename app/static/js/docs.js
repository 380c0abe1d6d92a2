// The bundled Swagger UI reads OpenAPI 3.0; the service describes itself in 3.1. What is shown is
// the same description, with the few words that 3.1 says differently put in 3.0's.

function older(node) {
  if (Array.isArray(node)) return node.map(older);
  if (node === null || typeof node !== "object") return node;
  const out = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, older(value)]));
  for (const some of ["anyOf", "oneOf"]) {
    const options = out[some];
    if (!Array.isArray(options) || !options.some((option) => option.type === "null")) continue;
    const rest = options.filter((option) => option.type !== "null");
    delete out[some];
    Object.assign(out, rest.length === 1 ? rest[0] : { [some]: rest }, { nullable: true });
  }
  if (Array.isArray(out.type)) {
    out.nullable = out.type.includes("null");
    out.type = out.type.find((type) => type !== "null");
  }
  if (out.type === "string" && out.contentMediaType) out.format = "binary";
  if ("const" in out) out.enum = [out.const];
  return out;
}

function load(file) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    Object.assign(script, { src: new URL(file, import.meta.url).href, onload: resolve, onerror: reject });
    document.head.append(script);
  });
}

const [answer] = await Promise.all([fetch("/openapi.json"), load("../swagger/swagger-ui-bundle.js")]);
const description = older(await answer.json());
description.openapi = "3.0.3";
window.SwaggerUIBundle({
  spec: description,
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null,
});
