// The title of the tab: how far the photos are, the mood of the server if it is not calm, and the name of the service.

const parts = new Map();
const usual = document.title;

export function titlePart(name, text) {
  parts.set(name, text);
  document.title = [parts.get("photos"), parts.get("mood"), usual].filter(Boolean).join(" · ");
}
