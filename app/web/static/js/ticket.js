// The ticket that uploads need where the page has a notice about it. It comes in the fragment of the page's address
// (/#ticket=…), which no server is sent, is taken off the address bar at once, and is kept in memory alone.

const notice = document.getElementById("ticket");
const listeners = [];
let current = null;

export const presentTicket = () => current;

export function onTicket(listener) {
  listeners.push(listener);
}

// The ticket for an upload, as soon as there is one; null where none is needed. `refused` is a ticket that the server did not
// accept, with its problem.
export async function ticket(refused) {
  if (refused) ticketRefused(refused.problem, refused.ticket);
  if (!notice || current) return current;
  await new Promise((resolve) => addEventListener("hashchange", resolve, { once: true }));
  return ticket();
}

// The server did not accept this ticket; by now there may be another one.
export function ticketRefused(problem, refused) {
  if (!notice || refused !== current) return;
  current = null;
  tell(problem?.detail ?? "The ticket was not accepted.");
}

function tell(reason) {
  notice.hidden = false;
  notice.querySelector("b").textContent = reason;
}

function take() {
  const given = new URLSearchParams(location.hash.replace(/^#\??/, "")).get("ticket");
  if (!given || !notice) return;
  current = given;
  history.replaceState(history.state, "", location.pathname + location.search);
  notice.hidden = true;
  for (const listener of listeners) listener();
}

take();
if (notice && !current) tell("Uploads here need a ticket.");
addEventListener("hashchange", take);
