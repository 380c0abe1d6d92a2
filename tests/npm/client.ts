// Uses the service by the types that openapi-typescript makes of its description. It is compiled strictly, so
// that whatever the description leaves out or calls by another name is an error here.
import createClient from "openapi-fetch";
import type { components, paths } from "./service";

type Job = components["schemas"]["JobDocument"];

declare const process: { argv: string[] };
const [baseUrl, photo] = process.argv.slice(2) as [string, string];
const client = createClient<paths>({ baseUrl });

function check(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(what);
}

const form = new FormData();
form.append("file", new Blob([Uint8Array.from(atob(photo), (letter) => letter.charCodeAt(0))], { type: "image/jpeg" }), "photo.jpg");
const uploaded = await client.POST("/v1/images", {
  params: { query: { variants: "thumb" }, header: { Prefer: "wait=20", "Idempotency-Key": '"typescript"' } },
  body: { file: "" },
  bodySerializer: () => form,
});
check(uploaded.response.status === 201, `uploaded: ${uploaded.response.status}`);
// The answer may also be the picture itself, or a preview, for those who prefer that.
check(typeof uploaded.data === "object" && "delete_token" in uploaded.data, "the document has a delete token");
const { id, delete_token } = uploaded.data;

const found = await client.GET("/v1/images/{id}", { params: { path: { id } } });
const job: Job | undefined = found.data;
check(job?.status === "done", `found: ${job?.status}`);
const thumb = job.variants["thumb"];
check(thumb !== undefined, "the variant is in the document");

const file = await client.GET("/v1/images/{id}/{variant}", {
  params: { path: { id, variant: "thumb" } },
  parseAs: "arrayBuffer",
});
check((file.data as unknown as ArrayBuffer).byteLength === thumb.bytes, "all of its bytes come");

const removed = await client.DELETE("/v1/images/{id}", {
  params: { path: { id } },
  headers: { Authorization: `Bearer ${delete_token}` },
});
check(removed.response.status === 204, `removed: ${removed.response.status}`);

const gone = await client.GET("/v1/images/{id}", { params: { path: { id } } });
check(gone.error?.type === "/problems/not-found", `gone: ${gone.error?.type}`);
console.log("used");
