import { at } from "./address.js";
import { ticketFields } from "./ticket.js";

// One attempt to send one photo. The promise never rejects: without an answer the status is 0.

export function send(photo, onProgress) {
  const request = new XMLHttpRequest();
  const ticket = ticketFields();
  const body = new FormData();
  body.append("file", photo.file, photo.name);
  const reply = new Promise((resolve) => {
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onloadend = () => resolve({ ...read(request), ticket });
  });
  request.open("POST", at("v1/images"));
  request.setRequestHeader("Accept", "application/json, application/problem+json");
  // A server that is quick answers with the finished photo, which then needs no further request.
  request.setRequestHeader("Prefer", "wait=1");
  request.setRequestHeader("Idempotency-Key", `"${photo.key}"`);
  for (const [name, value] of Object.entries(ticket)) request.setRequestHeader(name, value);
  request.send(body);
  return { reply, abort: () => request.abort() };
}

function read(request) {
  let body = null;
  try {
    body = JSON.parse(request.responseText);
  } catch {
    // A proxy's page, or nothing: the status has to do.
  }
  const seconds = Number.parseFloat(request.getResponseHeader("Retry-After") ?? "");
  const wait = body?.retry_after_ms ?? (Number.isNaN(seconds) ? null : seconds * 1000);
  return { status: request.status, body, wait };
}
