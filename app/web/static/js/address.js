// The path of an address of this service, below wherever a proxy has put it: this file is static/{release}/js/address.js
// there.

const ROOT = new URL("../../../", import.meta.url);

export function at(path) {
  const { pathname, search } = new URL(path, ROOT);
  return pathname + search;
}
