// A page that uses client.js in every way that its types describe.
import { Refused, unsent, upload, Uploader, uploader, wait, remove } from "./client.js";
import type { Change, Job, Refusal } from "./client.js";

declare const file: File;

const options = {
  onProgress: (share: number) => console.log(share * 100),
  onRefused: ({ status, guard, until, preview }: Refusal) => console.log(status, guard, new Date(until), preview?.url),
  signal: AbortSignal.timeout(60_000),
  variants: ["thumb"] as const,
  reference: "flat 7",
  ticket: async (refused?: { problem: { detail?: string } | null }) => refused?.problem?.detail ?? "eyJ…",
  keep: true,
};
try {
  const accepted: Job = await upload(file, options);
  const done = await wait(accepted, { signal: AbortSignal.timeout(60_000) });
  const address: string | undefined = done.variants["thumb"]?.url;
  console.log(address, done.source?.width);
  await remove(accepted);
} catch (error) {
  if (error instanceof Refused) console.log(error.status, error.problem.title);
}
for (const { file: left, options: earlier } of await unsent()) await upload(left, { ...earlier, onProgress: console.log });
uploader.addEventListener("change", ({ detail }) => {
  const change: Change = detail;
  if (change.state === "token") console.log(change.until);
});
await new Uploader({ base: "https://photos.example/", ticket: "eyJ…" }).upload(new Blob(), { name: "one.jpg" });
uploader.pause();
const field = document.createElement("spillway-upload");
field.add([file]);
console.log(field.images.map(({ id }) => id), field.value, field.form?.action);
// @ts-expect-error an address is no file
await upload("one.jpg");
// @ts-expect-error there is no such option
await upload(file, { retries: 3 });
