// Keeps <main> up to date. Nodes that stay the same stay in place, so that scroll, focus, selection
// and what is folded open stay too.
(() => {
  'use strict';
  const EVERY_MS = 2000;
  const PATIENCE_MS = 5000;
  const root = document.documentElement;
  const live = document.getElementById('live');
  const main = () => document.querySelector('main');
  let busy = false;
  let updates = 0;

  const say = (state, text) => {
    root.dataset.live = state;
    // Announced where it changes, not with every update.
    if (live.textContent !== text) live.textContent = text;
  };

  const attributes = (old, fresh) => {
    for (const { name } of [...old.attributes]) {
      if (name !== 'open' && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
  };

  const same = (old, fresh) =>
    old && old.nodeName === fresh.nodeName && (old.id || '') === (fresh.id || '');

  const morph = (old, fresh) => {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    attributes(old, fresh);
    const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
    let at = old.firstChild;
    for (const next of [...fresh.childNodes]) {
      const kept = (next.id && known.get(next.id)) || at;
      if (same(kept, next) && (next.id || !at || kept === at)) {
        if (kept === at) at = at.nextSibling;
        else old.insertBefore(kept, at);
        morph(kept, next);
      } else {
        old.insertBefore(document.importNode(next, true), at);
      }
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  };

  const update = async () => {
    if (busy || document.hidden) return;
    busy = true;
    const patience = new AbortController();
    const alarm = setTimeout(() => patience.abort(), PATIENCE_MS);
    try {
      const answer = await fetch(location.pathname, { cache: 'no-store', signal: patience.signal });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      const fresh = page.querySelector('main');
      if (!fresh) throw new Error('not a status page');
      // Another agent has other looks.
      if (fresh.dataset.version !== main().dataset.version) return location.reload();
      morph(main(), fresh);
      document.title = page.title;
      root.dataset.updates = ++updates;
      say('live', 'Live');
    } catch {
      say('stale', `Stale: no answer since ${main().dataset.now}Z`);
    } finally {
      clearTimeout(alarm);
      busy = false;
    }
  };

  say('live', 'Live');
  setInterval(update, EVERY_MS);
  document.addEventListener('visibilitychange', update);
})();
