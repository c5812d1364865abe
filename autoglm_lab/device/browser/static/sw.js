// Keeps the whole page: after its first load it works without a server. One cache for each version of page and bundle.

const VERSION = "@VERSION@";
const FILES = @FILES@;
const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));

worker.addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(VERSION)
      .then((cache) => cache.addAll(FILES))
      .then(() => worker.skipWaiting()),
  );
});

worker.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(names.filter((name) => name !== VERSION).map((name) => caches.delete(name))))
      .then(() => worker.clients.claim()),
  );
});

// Files under v/ never change. The page itself may: the server's is taken while there is one.
worker.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== location.origin) return;
  const kept = () => caches.match(request.mode === "navigate" ? "./" : request);
  if (request.mode === "navigate") event.respondWith(fetch(request).catch(kept));
  else event.respondWith(kept().then((found) => found || fetch(request)));
});
