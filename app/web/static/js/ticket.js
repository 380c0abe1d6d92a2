// The ticket that uploads need where the page has a notice about it. It comes in the fragment of the page's address
// (/#ticket=…), which no server is sent, is taken off the address bar at once, and is kept in memory alone.

const notice = document.getElementById("ticket");
const listeners = [];
let ticket = null;

export const ticketMissing = () => Boolean(notice) && !ticket;

export const ticketFields = () => (ticket ? { Authorization: `Bearer ${ticket}` } : {});

export function onTicket(listener) {
  listeners.push(listener);
}

// The server did not accept the ticket that was sent with these fields; by now there may be another one. Tells whether
// a new one can help.
export function ticketRefused(problem, fields) {
  if (notice && fields.Authorization === ticketFields().Authorization) {
    ticket = null;
    tell(problem?.detail ?? "The ticket was not accepted.");
  }
  return Boolean(notice);
}

function tell(reason) {
  notice.hidden = false;
  notice.querySelector("b").textContent = reason;
}

function take() {
  const given = new URLSearchParams(location.hash.replace(/^#\??/, "")).get("ticket");
  if (!given || !notice) return;
  ticket = given;
  history.replaceState(history.state, "", location.pathname + location.search);
  notice.hidden = true;
  for (const listener of listeners) listener();
}

take();
if (ticketMissing()) tell("Uploads here need a ticket.");
addEventListener("hashchange", take);
