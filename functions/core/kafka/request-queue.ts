import RequestQueue from "kafkajs/src/network/requestQueue/index.js";

let isQuiet = false;

/**
 * Keep kafkajs from setting a timer of 1 ms again and again on each connection that has been used,
 * to look whether a request waits: 4 to 5 % of a core while a drain lingers. With none that waits,
 * and no broker that has asked for a pause, there is nothing to look for; the next request sets it.
 *
 * It replaces a function inside kafkajs 2.2.4, the last version there is, which package.json pins.
 * Calling it again changes nothing.
 */
export function quietRequestQueue(): void {
  if (isQuiet) return;
  isQuiet = true;
  const { scheduleCheckPendingRequests } = RequestQueue.prototype;
  RequestQueue.prototype.scheduleCheckPendingRequests = function () {
    if (this.pending.length === 0 && this.throttledUntil <= Date.now()) return;
    scheduleCheckPendingRequests.call(this);
  };
}
